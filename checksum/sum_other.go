//go:build purego || (!amd64 && !arm64)

package checksum

// wide: there are no vector instructions here, or none that are used.
const wide = false

func sumWide(b []byte) uint64 { return sumWords(b) }
