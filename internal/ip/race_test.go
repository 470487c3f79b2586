//go:build race

package ip

// raced: the race detector makes sync.Pool forget, so allocations are not counted.
const raced = true
