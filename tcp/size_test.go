package tcp

import (
	"testing"
	"unsafe"
)

// The sizes that 100,000 idle connections depend on (docs/architecture.md).
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 424 {
		t.Errorf("a Conn is %d bytes, at most 424 are allowed", n)
	}
	t.Logf("Conn %d, flight %d, inflow %d, span %d", unsafe.Sizeof(Conn{}), unsafe.Sizeof(flight{}), unsafe.Sizeof(inflow{}), unsafe.Sizeof(span{}))
}
