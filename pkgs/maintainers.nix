# Whom to tell first of what is not as nixpkgs has it.
[
  {
    name = "The pytorch-variants authors";
    github = "pytorch-variants";
  }
]
