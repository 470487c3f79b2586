//go:build !purego

#include "textflag.h"

// UADALP adds each pair of the four 32-bit words of vector n to one of the two 64-bit words of vector d (Go's assembler does not have it):
// UADALP Vd.2D, Vn.4S.
#define UADALP(n, d) WORD $(0x6ea06800 | (n)<<5 | (d))

// func sumNEON(p *byte, n int) uint64
TEXT ·sumNEON(SB), NOSPLIT, $0-24
	MOVD p+0(FP), R0
	MOVD n+8(FP), R1
	VEOR V16.B16, V16.B16, V16.B16
	VEOR V17.B16, V17.B16, V17.B16
	VEOR V18.B16, V18.B16, V18.B16
	VEOR V19.B16, V19.B16, V19.B16

loop:
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VLD1.P 64(R0), [V4.B16, V5.B16, V6.B16, V7.B16]
	UADALP(0, 16)
	UADALP(1, 17)
	UADALP(2, 18)
	UADALP(3, 19)
	UADALP(4, 16)
	UADALP(5, 17)
	UADALP(6, 18)
	UADALP(7, 19)
	SUBS $128, R1, R1
	BNE  loop

	VADD V17.D2, V16.D2, V16.D2
	VADD V19.D2, V18.D2, V18.D2
	VADD V18.D2, V16.D2, V16.D2
	VMOV V16.D[0], R2
	VMOV V16.D[1], R3
	ADD  R3, R2, R2
	MOVD R2, ret+16(FP)
	RET
