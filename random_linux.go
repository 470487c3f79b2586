package weir

import (
	"io"

	"golang.org/x/sys/unix"
)

// systemRandom fills b, of at most 256 bytes. It does without crypto/rand, which brings a quarter of a megabyte of cryptography along.
func systemRandom(b []byte) error {
	for {
		n, err := unix.Getrandom(b, 0)
		switch {
		case err == unix.EINTR: // only before the system has gathered its first randomness, for which the call waits
		case err != nil:
			return err
		case n != len(b):
			return io.ErrShortBuffer
		default:
			return nil
		}
	}
}
