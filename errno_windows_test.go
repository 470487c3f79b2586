package weir

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"
)

func TestErrnoIsBothNumbers(t *testing.T) {
	err := wrap("connect", syscall.ECONNREFUSED)
	if !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, windows.WSAECONNRESET) {
		t.Error(err)
	}
	if err := portable(syscall.ETIMEDOUT).(errno); !err.Timeout() {
		t.Error(err)
	}
}
