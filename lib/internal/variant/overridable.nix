{ lib }:

/**
  A package whose `override`, `overrideAttrs` and `overridePythonAttrs` make it anew, so that what its maker computes
  of the arguments follows them.

  # Type

  ```
  overridable :: {
    stock :: Derivation,
    make :: (AttrSet -> AttrSet) -> (Derivation -> Derivation) -> Derivation,
  } -> Derivation
  ```

  # Inputs

  `stock`
  : the package whose arguments are overridden

  `make`
  : takes what callers have overridden of the arguments, as a function of the arguments before, and what they have
    done to the package after that
*/
{ stock, make }:
let
  overridersOf = change: finish: {
    override = lib.setFunctionArgs (
      new:
      remake (
        original:
        let
          before = change original;
          given = if lib.isFunction new || new ? __functor then new (original // before) else new;
        in
        before // given
      ) finish
    ) (lib.functionArgs stock.override);
    overrideAttrs = new: remake change (package: (finish package).overrideAttrs new);
  }
  // lib.optionalAttrs (stock ? overridePythonAttrs) {
    overridePythonAttrs = new: remake change (package: (finish package).overridePythonAttrs new);
  };
  remake = change: finish: make change finish // overridersOf change finish;
in
remake (_: { }) (package: package)
