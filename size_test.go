package weir

import (
	"testing"
	"unsafe"

	"github.com/weirnet/weir/internal/stack"
)

func TestSizes(t *testing.T) {
	t.Logf("TCPConn %d, stack.TCP %d, half %d, UDPConn %d", unsafe.Sizeof(TCPConn{}), unsafe.Sizeof(stack.TCP{}), unsafe.Sizeof(half{}), unsafe.Sizeof(UDPConn{}))
	if own := unsafe.Sizeof(TCPConn{}) - unsafe.Sizeof(stack.TCP{}); own > 96 {
		t.Errorf("a TCPConn is %d bytes more than its socket, want at most 96", own)
	}
}
