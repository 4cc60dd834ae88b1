"""The opcodes of every x86-64 instruction set that programs use: what instructions.py looks up.

Tables are those of the Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, and of the
AMD64 Architecture Programmer's Manual, volumes 4 to 6. A row is the set (as /proc/cpuinfo calls it; several
are joined by "+"), the opcode map, the mandatory prefixes (np: none of them, *: any), a condition on
w (REX.W, VEX.W), l (the vector's length: 0 is 128 bits, 1 256, 2 512), mod (1: a register), reg and rm, and
the opcodes. What no row has is x86-64's own, or no instruction.

Left out are instructions of the kernel, and those that a CPU which lacks them runs as no operation
(ENDBR64, PREFETCHW, CLDEMOTE and the like).
"""

# Without a vector prefix: maps 1 (0f), 2 (0f 38) and 3 (0f 3a).
LEGACY = """\
3dnow 1 * - 0e
abm 1 f3 - bd
adx 2 66,f3 - f6
aes 2 66 - db-df
aes 3 66 - df
aeskle 2 f3 - dd-df fa-fb
aeskle 2 f3 mod=0 dc
aeskle+wide_kl 2 f3 - d8
bmi1 1 f3 - bc
clflushopt 1 66 mod=0,reg=7 ae
clwb 1 66 mod=0,reg=6 ae
clzero 1 * mod=1,reg=7,rm=4 01
cx16 1 * mod=0,reg=1,w=1 c7
enqcmd 2 f3,f2 - f8
fsgsbase 1 f3 mod=1,reg=0-3 ae
gfni 2 66 - cf
gfni 3 66 - ce-cf
kl 2 f3 mod=1 dc
mmx 1 np - 60-6b 6e-6f 71-77 7e-7f d1-d5 d8-d9 db-dd df e1-e2 e5 e8-e9 eb-ed ef f1-f3 f5 f8-fa fc-fe
movbe 2 np,66 - f0-f1
movdir64b 2 66 - f8
movdiri 2 np - f9
mwaitx 1 np mod=1,reg=7,rm=2-3 01
pclmulqdq 3 66 - 44
pku 1 np mod=1,reg=5,rm=6-7 01
pni 1 f3 - 12 16
pni 1 f2 - 12 7c-7d d0 f0
pni 1 66 - 7c-7d d0
popcnt 1 f3 - b8
ptwrite 1 f3 reg=4 ae
rao_int 2 * - fc
rdpid 1 f3 mod=1,reg=7 c7
rdpru 1 np mod=1,reg=7,rm=5 01
rdrand 1 np,66 mod=1,reg=6 c7
rdseed 1 np,66 mod=1,reg=7 c7
rdtscp 1 * mod=1,reg=7,rm=1 01
rtm 1 np mod=1,reg=2,rm=5-6 01
serialize 1 np mod=1,reg=5,rm=0 01
sha_ni 2 np - c8-cd
sha_ni 3 np - cc
sse 1 np - 10-17 28-2f 50-59 5c-5f 70 c2 c4-c6 d7 da de e0 e3-e4 e7 ea ee f6-f7
sse 1 f3 - 10-11 2a 2c-2d 51-53 58-59 5c-5f c2
sse 1 * mod=0,reg=0-3 18
sse 1 np mod=0,reg=2-3 ae
sse 1 np mod=1,reg=7 ae
sse2 1 66 - 10-17 28-2f 50-51 54-76 7e-7f c2 c4-c6 d1-ef f1-fe
sse2 1 f2 - 10-11 2a 2c-2d 51 58-5a 5c-5f 70 c2 d6 e6
sse2 1 f3 - 5a-5b 6f-70 7e-7f d6 e6
sse2 1 np - 5a-5b c3 f4 fb
sse2 1 np mod=1,reg=5-6 ae
sse4_1 2 66 - 10 14-15 17 20-25 28-2b 30-35 38-41
sse4_1 3 66 - 08-0e 14-17 20-22 40-42
sse4_2 2 66 - 37
sse4_2 2 f2 - f0-f1
sse4_2 3 66 - 60-63
sse4a 1 f3 - 2b
sse4a 1 f2 - 2b 78-79
sse4a 1 66 - 78-79
ssse3 2 np,66 - 00-0b 1c-1e
ssse3 3 np,66 - 0f
tsxldtrk 1 f2 mod=1,reg=5,rm=0-1 01
uintr 1 f3 mod=1,reg=5,rm=4-7 01
uintr 1 f3 mod=1,reg=6 c7
waitpkg 1 f2 mod=1,reg=6 ae
waitpkg 1 66,f3 mod=1,reg=6 ae
xsave 1 np mod=0,reg=4-5 ae
xsave 1 np mod=1,reg=2,rm=0-1 01
xsavec 1 np mod=0,reg=4 c7
xsaveopt 1 np mod=0,reg=6 ae
"""

# Prefixes c5 and c4.
VEX = """\
aes+avx 2 66 - db
aes+avx 2 66 l=0 dc-df
aes+avx 3 66 - df
amx_bf16 2 f3 - 5c
amx_complex 2 np,66 - 6c
amx_fp16 2 f2 - 5c
amx_int8 2 np,66,f3,f2 - 5e
amx_tile 2 np,66,f3,f2 - 49
amx_tile 2 66,f3,f2 - 4b
avx 1 np - 10-17 28-29 2b 2e-2f 50-5f 77 ae c2 c6
avx 1 66 - 10-17 28-29 2b 2e-2f 50-51 54-5f 6e-6f 7c-7f c2 c4-c6 d0 d6 e6-e7 f7
avx 1 f3 - 10-12 16 2a 2c-2d 51-53 58-5f 6f 7e-7f c2 e6
avx 1 f2 - 10-12 2a 2c-2d 51 58-5a 5c-5f 7c-7d c2 d0 e6 f0
avx 1 66 l=0 60-6d 70-76 d1-d5 d7-e5 e8-ef f1-f6 f8-fe
avx 1 f3,f2 l=0 70
avx 2 66 - 0c-0f 17 1a 2c-2f 41
avx 2 66 l=0 00-0b 1c-1e 20-25 28-2b 30-35 37-40
avx 2 66 mod=0 18-19
avx 3 66 - 04-06 08-0d 14-19 20-22 40-41 4a-4b 60-63
avx 3 66 l=0 0e-0f 42 4c
avx+gfni 2 66 - cf
avx+gfni 3 66 - ce-cf
avx+pclmulqdq 3 66 l=0 44
avx+sha512 2 f2 - cb-cd
avx+sm3 2 np,66 - da
avx+sm3 3 66 - de
avx+sm4 2 f3,f2 - da
avx2 1 66 l=1 60-6d 70-76 d1-d5 d7-e5 e8-ef f1-f6 f8-fe
avx2 1 f3,f2 l=1 70
avx2 2 66 - 16 36 45-47 58-5a 78-79 8c 8e 90-93
avx2 2 66 l=1 00-0b 1c-1e 20-25 28-2b 30-35 37-40
avx2 2 66 mod=1 18-19
avx2 3 66 - 00-02 38-39 46
avx2 3 66 l=1 0e-0f 42 4c
avx512bw 1 np - 4b
avx512bw 1 f2 - 92-93
avx512bw 1 np,66 w=1 41-42 44-47 4a 90-91 98-99
avx512bw 3 66 - 31 33
avx512dq 1 66 - 92-93
avx512dq 1 66 w=0 41-42 44-47 4a 90-91 98-99
avx512dq 1 np w=0 4a 99
avx512dq 3 66 w=0 30 32
avx512f 1 66 - 4b
avx512f 1 np - 92-93
avx512f 1 np w=0 41-42 44-47 90-91 98
avx512f 3 66 w=1 30 32
avx_ifma 2 66 - b4-b5
avx_ne_convert 2 f3 - 72 b0-b1
avx_ne_convert 2 np,f2 - b0
avx_ne_convert 2 66 - b0-b1
avx_vnni 2 66 - 50-53
avx_vnni_int16 2 np,66,f3 - d2-d3
avx_vnni_int8 2 np,f3,f2 - 50-51
bmi1 2 np - f2-f3 f7
bmi2 2 np - f5
bmi2 2 f2 - f5-f7
bmi2 2 f3 - f5 f7
bmi2 2 66 - f7
bmi2 3 f2 - f0
cmpccxadd 2 66 - e0-ef
f16c 2 66 - 13
f16c 3 66 - 1d
fma 2 66 - 96-9f a6-af b6-bf
fma4 3 66 - 5c-5f 68-6f 78-7f
vaes 2 66 l=1 dc-df
vpclmulqdq 3 66 l=1 44
xop 3 66 - 48-49
"""

# Prefix 62.
EVEX = """\
avx512_4fmaps 2 f2 - 9a-9b aa-ab
avx512_4vnniw 2 f2 - 52-53
avx512_bf16 2 f3 - 52 72
avx512_bf16 2 f2 - 72
avx512_bitalg 2 66 - 54 8f
avx512_fp16 3 np - 08 0a 26-27 56-57 66-67 c2
avx512_fp16 3 f3 - c2
avx512_fp16 5 f3 - 10-11 2a 2c-2d 51 58-5f 78-79 7b 7d
avx512_fp16 5 np - 1d 2e-2f 51 58-5f 78-79 7c-7d
avx512_fp16 5 66 - 1d 5a-5b 6e 78-7e
avx512_fp16 5 f2 - 5a 7a 7d
avx512_fp16 6 np - 13
avx512_fp16 6 66 - 13 2c-2d 42-43 4c-4f 96-9f a6-af b6-bf
avx512_fp16 6 f3,f2 - 56-57 d6-d7
avx512_vbmi2 2 66 - 62-63 70-73
avx512_vbmi2 3 66 - 70-73
avx512_vnni 2 66 - 50-53
avx512_vp2intersect 2 f2 - 68
avx512_vpopcntdq 2 66 - 55
avx512bw 1 66 - 60-61 63-65 67-69 6b 71 74-75 c4-c5 d1 d5 d8-da dc-de e0-e1 e3-e5 e8-ea ec-ee f1 f5-f6 f8-f9
avx512bw 1 66 - fc-fd
avx512bw 1 f2 - 6f-70 7f
avx512bw 1 f3 - 70
avx512bw 1 66 reg=3 73
avx512bw 1 66 reg=7 73
avx512bw 2 66 - 00 04 0b 10-12 1c-1d 20 26 2b 30 38 3a 3c 3e 66 78-7b
avx512bw 2 f3 - 10 20 26 28-29 30
avx512bw 2 66 w=1 75 7d 8d
avx512bw 3 66 - 0f 14-15 20 3e-3f 42
avx512cd 2 f3 - 2a 3a
avx512cd 2 66 - 44 c4
avx512dq 1 np - 54-57
avx512dq 1 66 - 54-57 78-7b
avx512dq 1 np w=1 5b
avx512dq 1 f2 w=1 7a
avx512dq 1 f3 w=1 7a e6
avx512dq 2 f3 - 38-39
avx512dq 2 66 w=0 19 1b 59 5b
avx512dq 2 66 w=1 1a 40 5a
avx512dq 3 66 - 16 22 50-51 56-57 66-67
avx512dq 3 66 w=0 1a-1b 3a-3b
avx512dq 3 66 w=1 18-19 38-39
avx512er 2 66 - c8 ca-cd
avx512f 1 66 - 10-17 28-29 2b 2e-2f 51 58-5f 62 66 6a 6c-70 72 76 7e-7f c2 c6 d2-d4 d6 db df e2 e6-e7 eb ef
avx512f 1 66 - f2-f4 fa-fb fe
avx512f 1 np - 10-17 28-29 2b 2e-2f 51 58-5a 5c-5f 78-79 c2 c6
avx512f 1 f3 - 10-12 16 2a 2c-2d 51 58-5f 6f 78-79 7b 7e-7f c2
avx512f 1 f2 - 10-12 2a 2c-2d 51 58-5a 5c-5f 78-79 7b c2 e6
avx512f 1 66 reg=2 73
avx512f 1 66 reg=6 73
avx512f 1 np w=0 5b
avx512f 1 f2 w=0 7a
avx512f 1 f3 w=0 7a e6
avx512f 2 66 - 0c-0d 13-16 18 1e-1f 21-25 27-2a 2c-2d 31-37 39 3b 3d 3f 42-43 45-47 4c-4f 58 64-65 76-77 7c
avx512f 2 66 - 7e-7f 88-8b 90-93 96-a3 a6-af b6-bf
avx512f 2 f3 - 11-15 21-25 27 31-35
avx512f 2 66 w=0 1a 40 5a
avx512f 2 66 w=1 19 1b 59 5b
avx512f 3 66 - 00-01 03-05 08-0b 17 1d-1f 21 23 25-27 43 54-55
avx512f 3 66 w=0 18-19 38-39
avx512f 3 66 w=1 1a-1b 3a-3b
avx512ifma 2 66 - b4-b5
avx512pf 2 66 - c6-c7
avx512vbmi 2 66 - 83
avx512vbmi 2 66 w=0 75 7d 8d
gfni 2 66 - cf
gfni 3 66 - ce-cf
vaes 2 66 - dc-df
vpclmulqdq 3 66 - 44
"""

# EVEX instructions on one number, and those that have 128 bits alone: they do without AVX512VL.
SCALAR = """\
scalar 1 np - 12-13 16-17 2e-2f
scalar 1 66 - 12-13 16-17 2e-2f 6e 7e c4-c5 d6
scalar 1 f3,f2 - 10-11 2a 2c-2d 51 58-5a 5c-5f 78-79 7b c2
scalar 1 f3 - 7e
scalar 2 66 - 2d 43 4d 4f 99 9b 9d 9f a9 ab ad af b9 bb bd bf cb cd
scalar 2 f2 - 9b ab
scalar 3 np - 0a 27 57 67
scalar 3 66 - 0a-0b 14-17 20-22 27 51 55 57 67
scalar 3 f3 - c2
scalar 5 np - 1d 2e-2f
scalar 5 66 - 6e 7e
scalar 5 f3 - 10-11 2a 2c-2d 51 58-5a 5c-5f 78-79 7b
scalar 5 f2 - 5a
scalar 6 np - 13
scalar 6 66 - 2d 43 4d 4f 99 9b 9d 9f a9 ab ad af b9 bb bd bf
scalar 6 f3,f2 - 57 d7
"""

# AMD's prefix 8f.
XOP = """\
lwp 9 np - 12
lwp 10 np - 12
tbm 9 np - 01-02
tbm 10 np - 10
xop 8 np - 85-87 8e-8f 95-97 9e-9f a2-a3 a6 b6 c0-c3 cc-cf ec-ef
xop 9 np - 80-83 90-9b c1-c3 c6-c7 cb d1-d3 d6-d7 db e1-e3
"""
