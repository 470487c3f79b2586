//go:build race

package tcp

// raced: the race detector is on, under which a sync.Pool forgets at random.
const raced = true
