# Debian's cross compiler for 64-bit Arm, and an emulator that runs what it makes:
# apt-get install g++-aarch64-linux-gnu qemu-user. tests/packaging/try_aarch64.py uses both.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
