{ lib, stdenv }:

# A file of Debian's archive from the mirrors that this machine's apt is configured for, whatever Debian they are
# configured for: pinned by its SHA-256, and so in no need of that release's lists.
{
  pname,
  version,
  pool,
  sha256,
  size,
}:
stdenv.mkDerivation {
  # A store path has no tilde.
  name = lib.replaceStrings [ "~" ] [ "-" ] (baseNameOf pool);
  inherit version;

  outputHashMode = "flat";
  outputHashAlgo = "sha256";
  outputHash = sha256;

  impureEnvVars = [
    "http_proxy"
    "https_proxy"
    "no_proxy"
    "APT_CONFIG"
  ];

  buildCommand = ''
    file=${baseNameOf pool}
    echo "fetching $file"
    mirrors=$(sh ${./debian_mirrors.sh})
    for mirror in $mirrors; do
      if /usr/lib/apt/apt-helper -qq -o APT::Sandbox::User=root download-file "$mirror/pool/${pool}" "$PWD/$file" 2>>log; then
        mv "$file" "$out"
        exit 0
      fi
    done
    cat log >&2
    if [ -z "$mirrors" ]; then
      echo "$file could not be fetched: apt has no Debian mirror among its sources here" >&2
    else
      echo "$file could not be fetched: check the network and apt's sources, then build again; what has been fetched is kept" >&2
    fi
    exit 1
  '';

  passthru = { inherit size; };
  meta.description = "${pname} ${version} of Debian";
}
