// Package nstest runs tests inside a network namespace of their own, where they may have interfaces, addresses and routes without rights
// on the host and without being seen by it. It is for tests only.
package nstest
