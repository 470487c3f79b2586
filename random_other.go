//go:build !linux

package weir

import "crypto/rand"

// systemRandom fills b.
func systemRandom(b []byte) error {
	_, err := rand.Read(b) // never fails: it ends the program instead
	return err
}
