//go:build !race

package ip

const raced = false
