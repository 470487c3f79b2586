//go:build !windows

package weir

import "syscall"

// portable is e in the form in which this system's package net gives it.
func portable(e syscall.Errno) error { return e }
