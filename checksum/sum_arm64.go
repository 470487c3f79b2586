//go:build !purego

package checksum

// wide: every processor of this architecture that Go runs on has NEON.
const wide = true

// sumWide is sumWords for a multiple of wideBlock bytes, at least one and at most wideMost of them.
func sumWide(b []byte) uint64 { return sumNEON(&b[0], len(b)) }

//go:noescape
func sumNEON(p *byte, n int) uint64
