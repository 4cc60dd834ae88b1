{
  runCommand,
  pytorch-variants-cli,
  environment,
  variant,
}:

# The report on an environment with the variant, as a table, JSON and JUnit XML. It fails to build, and
# shows the table, if the variant is not what its name says.
runCommand "verify-${variant.variantName or variant.pname}" { } ''
  echo '@nix {"action":"setPhase","phase":"verifying"}'
  ${pytorch-variants-cli}/bin/pytorch-variants verify ${environment} \
    --variant ${variant.variantName or variant.pname} --origin ${variant.origin or "source"} --output "$out" >report ||
    { cat report; exit 1; }
''
