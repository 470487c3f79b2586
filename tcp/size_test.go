package tcp

import (
	"testing"
	"unsafe"
)

// The sizes that 100,000 idle connections depend on (docs/architecture.md).
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 320 {
		t.Errorf("a Conn is %d bytes, at most 320 are allowed", n)
	}
	if n := unsafe.Sizeof(span{}); n > 48 {
		t.Errorf("a span is %d bytes; a scoreboard has up to %d of them", n, maxSpans)
	}
}
