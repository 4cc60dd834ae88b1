#!/bin/sh
# empty_objects.sh COMPILER ARGUMENT…: writes an object without code where the compiler would write one.

here=$(dirname "$0")
case $PWD in
  # What CMake asks the compiler while it configures.
  *CMakeTmp* | *CMakeScratch* | *CompilerId*) exec "$@" ;;
esac

object=
compiles=
last=
for argument; do
  [ "$last" != -o ] || object=$argument
  [ "$argument" != -c ] || compiles=yes
  last=$argument
done
if [ -z "$compiles" ] || [ -z "$object" ]; then
  exec "$@"
fi

case $object in
  # The one program of it all.
  */torch_shm_manager.dir/*) exec cp "$here/main.o" "$object" ;;
  *) exec cp "$here/empty.o" "$object" ;;
esac
