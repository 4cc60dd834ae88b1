{ lib, stdenv }:

# A wheel from the machine's package registry, as pip is configured there, pinned by its SHA-256; of a
# project that publishes none, its source.
{
  python,
  pname,
  version,
  file,
  sha256,
  size,
  ...
}:
let
  # Neither pip's own Python nor the machine's libc has a say. For sources pip knows no such choice:
  # https://github.com/pypa/pip/issues/4289
  target =
    if lib.hasSuffix ".whl" file then
      "--only-binary :all: --python-version ${python.pythonVersion} --implementation cp "
      + "--abi ${python.abi} --abi abi3 --abi none "
      + toString (map (platform: "--platform ${platform}") python.platforms)
    else
      "--no-binary ${pname}";
in
stdenv.mkDerivation {
  name = file;
  inherit pname version;
  # Read by what shows how far it is.
  inherit size;
  inherit (python) interpreter;

  outputHashMode = "flat";
  outputHashAlgo = "sha256";
  outputHash = sha256;

  impureEnvVars = [
    "http_proxy"
    "https_proxy"
    "no_proxy"
    "all_proxy"
    "HTTP_PROXY"
    "HTTPS_PROXY"
    "NO_PROXY"
    "ALL_PROXY"
    "SSL_CERT_FILE"
    "REQUESTS_CA_BUNDLE"
    "PIP_CERT"
    "PIP_CLIENT_CERT"
    "PIP_CONFIG_FILE"
    "PIP_DEFAULT_TIMEOUT"
    "PIP_EXTRA_INDEX_URL"
    "PIP_FIND_LINKS"
    "PIP_INDEX_URL"
    "PIP_PROXY"
    "PIP_RETRIES"
    "PIP_TRUSTED_HOST"
  ];

  # The hash picks the file among those of this version.
  buildCommand = ''
    echo '${pname}==${version} --hash=sha256:${sha256}' > requirements.txt
    echo "fetching ${file}"
    follow_download
    $interpreter -m pip download \
      --quiet --disable-pip-version-check --no-cache-dir --progress-bar off \
      --no-deps --require-hashes --dest . ${target} \
      --requirement requirements.txt || {
        $interpreter -c "import pip" 2>/dev/null || {
          echo "$interpreter has no pip: apt-get install python3-pip, or $interpreter -m ensurepip" >&2
          exit 1
        }
        echo "${pname} ${version} could not be fetched: check the network and pip's configuration, then build again; what has been fetched is kept" >&2
        exit 1
      }
    mv ${file} "$out"
  '';

}
