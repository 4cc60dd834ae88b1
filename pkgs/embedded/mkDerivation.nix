{ lib, system }:

# Derivations that are built with the machine's own tools instead of a standard environment. The
# interface is stdenv.mkDerivation's: attributes or a function of the final ones, env, passthru, meta,
# overrideAttrs.
let
  mkDerivation =
    attrsOrFunction:
    let
      f = lib.toFunction attrsOrFunction;
      attrs = f (attrs // { finalPackage = package; });
      name = attrs.name or "${attrs.namePrefix or ""}${attrs.pname}-${attrs.version}";
      built = derivation (
        {
          inherit name system;
          builder = "/bin/sh";
          args = [
            "-eu"
            ./builder.sh
          ];
        }
        // removeAttrs attrs [
          "env"
          "meta"
          "passthru"
        ]
        // attrs.env or { }
      );
      package =
        built
        // attrs.passthru or { }
        // {
          inherit name;
          meta = {
            platforms = [ system ];
          }
          // attrs.meta or { };
          passthru = attrs.passthru or { };
          version = attrs.version or null;
          pname = attrs.pname or name;
          overrideAttrs =
            g:
            mkDerivation (
              final:
              let
                old = f final;
                new = lib.toFunction g;
                applied = new final;
              in
              # Both forms of nixpkgs: old: { … } and final: old: { … }.
              old // (if lib.isFunction applied then applied old else new old)
            );
        };
    in
    package;
in
mkDerivation
