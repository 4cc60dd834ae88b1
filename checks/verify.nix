{
  runCommand,
  python,
  pytorch-variants,
  variant,
}:

# The report on a variant, as JSON and as a table. It fails to build, and shows the table, if the variant
# is not what its name says.
runCommand "verify-${variant.pname}" { } ''
  ${python.withPackages (_: [ pytorch-variants ])}/bin/pytorch-variants verify ${variant.environment} \
    --variant ${variant.pname} --origin '${variant.origin or "compiled from source"}' --output "$out" >report ||
    { cat report; exit 1; }
''
