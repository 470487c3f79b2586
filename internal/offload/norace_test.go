//go:build !race

package offload

const raced = false
