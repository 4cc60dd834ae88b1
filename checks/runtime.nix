{
  runCommand,
  pytorch-variants-cli,
  variant,
}:

# A program that verifies the variant on the GPU of the machine that it runs on.
runCommand "verify-${variant.variantName or variant.pname}"
  {
    meta.mainProgram = "verify-${variant.variantName or variant.pname}";
  }
  ''
    mkdir -p "$out/bin"
    cat >"$out/bin/verify-${variant.variantName or variant.pname}" <<'SCRIPT'
    #!/bin/sh
    exec ${pytorch-variants-cli}/bin/pytorch-variants verify ${variant.environment} \
      --variant ${variant.variantName or variant.pname} --origin ${variant.origin or "source"} --runtime "$@"
    SCRIPT
    chmod +x "$out/bin/verify-${variant.variantName or variant.pname}"
  ''
