/**
  The binary caches that have nixpkgs' CUDA builds. Nothing asks or trusts one of them until somebody says so; whose
  they are is in docs/flake-input.md.

  # Type

  ```
  caches :: AttrSet { url :: String, key :: String }
  ```

  # Example

  ```nix
  caches.community.url
  => "https://cache.nixos-cuda.org"
  ```
*/
{
  community = {
    url = "https://cache.nixos-cuda.org";
    key = "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M=";
  };
  flox = {
    url = "https://cache.flox.dev";
    key = "flox-cache-public-1:7F4OyH7ZCnFhcze3fJdfyXYLQw/aV7GEed86nQ7IsOs=";
  };
}
