//go:build !purego

package checksum

import "golang.org/x/sys/cpu"

// wide says whether the processor has what sumWide needs.
var wide = cpu.X86.HasAVX2

// sumWide is sumWords for a multiple of wideBlock bytes, at least one and at most wideMost of them.
func sumWide(b []byte) uint64 { return sumAVX2(&b[0], len(b)) }

//go:noescape
func sumAVX2(p *byte, n int) uint64
