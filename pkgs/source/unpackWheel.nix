{
  lib,
  stdenv,
  fetchWheel,
  python311,
}:

# A wheel's files as they are, without a Python around them; with `programs`, a directory of it as bin.
{
  pname,
  version,
  programs ? null,
  ...
}@pin:
stdenv.mkDerivation {
  inherit pname version;
  interpreter = "python3";
  # The machine's Python fetches and unpacks; what is pinned for another is none of its business.
  src = fetchWheel (
    removeAttrs pin [ "programs" ]
    // {
      python = {
        inherit (python311) pythonVersion abi platforms;
        interpreter = "python3";
      };
    }
  );
  buildCommand = ''
    $interpreter -m zipfile -e "$src" "$out"
    # A zip's modes are not kept.
    find "$out" \( -path '*/bin/*' -o -path '*.data/scripts/*' \) -type f -exec chmod +x {} +
  ''
  + lib.optionalString (programs != null) ''
    ln -s ${programs} "$out/bin"
  '';
}
