//go:build !purego

#include "textflag.h"

// BLOCK adds the 32 bytes at off(SI), four 64-bit words, to sums all and to the sums of their upper halves.
#define BLOCK(off, all, upper, t) \
	VMOVDQU off(SI), t; \
	VPADDQ  t, all, all; \
	VPSRLQ  $32, t, t; \
	VPADDQ  t, upper, upper

// func sumAVX2(p *byte, n int) uint64
//
// A sum of 64-bit words loses carries. But the sum of the upper halves does not, and what the full sum has beside that is the sum of the
// lower halves, which does not either: lower = all - upper·2^32, modulo 2^64. Three additions and shifts for 32 bytes.
TEXT ·sumAVX2(SB), NOSPLIT, $0-24
	MOVQ  p+0(FP), SI
	MOVQ  n+8(FP), CX
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	VPXOR Y4, Y4, Y4
	VPXOR Y5, Y5, Y5
	VPXOR Y6, Y6, Y6
	VPXOR Y7, Y7, Y7

loop:
	BLOCK(0, Y0, Y4, Y8)
	BLOCK(32, Y1, Y5, Y9)
	BLOCK(64, Y2, Y6, Y10)
	BLOCK(96, Y3, Y7, Y11)
	ADDQ $128, SI
	SUBQ $128, CX
	JNZ  loop

	VPADDQ Y1, Y0, Y0
	VPADDQ Y3, Y2, Y2
	VPADDQ Y2, Y0, Y0
	VPADDQ Y5, Y4, Y4
	VPADDQ Y7, Y6, Y6
	VPADDQ Y6, Y4, Y4

	VPSLLQ       $32, Y4, Y5
	VPSUBQ       Y5, Y0, Y0 // lower
	VPADDQ       Y4, Y0, Y0 // 2^32 is 1 in one's complement arithmetic of 16 or 32 bits
	VEXTRACTI128 $1, Y0, X1
	VPADDQ       X1, X0, X0
	VPSRLDQ      $8, X0, X1
	VPADDQ       X1, X0, X0
	VMOVQ        X0, AX
	MOVQ         AX, ret+16(FP)
	VZEROUPPER
	RET
