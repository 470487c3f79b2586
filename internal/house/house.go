// Package house holds no code, only the tests of the rules by which the packages of this module are built: who may import whom, and who may
// touch time, randomness and goroutines. See docs/architecture.md.
package house
