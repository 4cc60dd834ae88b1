# What this project uses of nixpkgs' lib, under the same names and with the same results
# (pyhelpers/tests/test_embedded.py holds the two against each other).
let
  inherit (builtins)
    attrNames
    elem
    elemAt
    filter
    foldl'
    genList
    head
    isFunction
    length
    listToAttrs
    map
    readFile
    replaceStrings
    stringLength
    substring
    ;
in
builtins
// rec {
  # Functions and overriding
  fix =
    f:
    let
      x = f x;
    in
    x;
  extends =
    overlay: f: final:
    let
      prev = f final;
    in
    prev // overlay final prev;
  composeManyExtensions = foldl' (
    f: g: final: prev:
    let
      applied = f final prev;
    in
    applied // g final (prev // applied)
  ) (_: _: { });
  functionArgs = f: f.__functionArgs or (builtins.functionArgs f);
  setFunctionArgs = f: args: {
    __functor = _: f;
    __functionArgs = args;
  };
  toFunction = value: if isFunction value || value ? __functor then value else _: value;

  makeOverridable =
    f: args:
    let
      result = f args;
      overrideWith = new: args // toFunction new args;
      override = setFunctionArgs (new: makeOverridable f (overrideWith new)) (functionArgs f);
    in
    if !builtins.isAttrs result then
      result
    else
      result
      // {
        inherit override;
      }
      // optionalAttrs (result ? overrideAttrs) {
        # What has been overridden by attributes can still be overridden by arguments.
        overrideAttrs =
          g: makeOverridable (setFunctionArgs (args: (f args).overrideAttrs g) (functionArgs f)) args;
      };

  callPackageWith =
    scope: path: args:
    let
      f = if isFunction path then path else import path;
    in
    makeOverridable f (builtins.intersectAttrs (functionArgs f) scope // args);

  warnIf =
    condition: message: value:
    if condition then builtins.trace "evaluation warning: ${message}" value else value;

  # Attribute sets
  optionalAttrs = condition: attrs: if condition then attrs else { };
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  nameValuePair = name: value: { inherit name value; };
  filterAttrs =
    keep: attrs: removeAttrs attrs (filter (name: !keep name attrs.${name}) (attrNames attrs));
  mapAttrs' = f: attrs: listToAttrs (map (name: f name attrs.${name}) (attrNames attrs));
  mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (attrNames attrs);

  # The last name varies fastest, as in nixpkgs.
  cartesianProduct =
    sets:
    foldl' (
      combinations: name:
      builtins.concatMap (c: map (value: c // { ${name} = value; }) sets.${name}) combinations
    ) [ { } ] (attrNames sets);

  # Lists
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  last = list: elemAt list (length list - 1);
  take = count: list: genList (elemAt list) (if count < length list then count else length list);
  subtractLists = dropped: filter (value: !elem value dropped);
  intersectLists = wanted: filter (value: elem value wanted);
  findFirst =
    predicate: default: list:
    let
      found = filter predicate list;
    in
    if found == [ ] then default else head found;

  # Strings
  concatStrings = builtins.concatStringsSep "";
  concatMapStringsSep =
    separator: f: list:
    builtins.concatStringsSep separator (map f list);
  optionalString = condition: text: if condition then text else "";
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    stringLength text >= stringLength suffix
    && substring (stringLength text - stringLength suffix) (stringLength suffix) text == suffix;
  hasInfix = infix: text: replaceStrings [ infix ] [ "" ] text != text || infix == "";
  removePrefix =
    prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (-1) text else text;
  stringToCharacters = text: genList (i: substring i 1 text) (stringLength text);
  upperChars = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  lowerChars = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  toInt = builtins.fromJSON;
  toLower = replaceStrings upperChars lowerChars;
  # builtins.split takes a regular expression: every character of the separator is put in a class.
  splitString =
    separator: text:
    filter builtins.isString (
      builtins.split (builtins.concatStringsSep "" (
        map (c: "[${c}]") (stringToCharacters separator)
      )) text
    );

  getName = package: package.pname or (builtins.parseDrvName package.name or package).name;

  # Licences, by what tools read of them
  licenses = {
    bsd2 = {
      spdxId = "BSD-2-Clause";
      free = true;
    };
    bsd3 = {
      spdxId = "BSD-3-Clause";
      free = true;
    };
    issl = {
      fullName = "Intel Simplified Software License";
      free = false;
    };
    mit = {
      spdxId = "MIT";
      free = true;
    };
  };

  # Versions
  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;
  versions = {
    major = version: head (builtins.splitVersion version);
    majorMinor = version: builtins.concatStringsSep "." (take 2 (builtins.splitVersion version));
  };

  # Tests
  runTests =
    tests:
    builtins.concatMap (
      name:
      let
        test = tests.${name};
      in
      optional (test.expr != test.expected) {
        inherit name;
        inherit (test) expected;
        result = test.expr;
      }
    ) (filter (hasPrefix "test") (attrNames tests));

  # Files
  importTOML = path: fromTOML (readFile path);
  importJSON = path: builtins.fromJSON (readFile path);
  cleanSourceWith =
    {
      src,
      filter ? _: _: true,
      name ? "source",
    }:
    builtins.path {
      path = src;
      inherit filter name;
    };
}
