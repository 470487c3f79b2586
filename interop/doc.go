// Package interop tests weir against the Linux kernel and its programs over TUN. Each test makes a user and network namespace of its own,
// in which the kernel's sockets, curl, ping and the like are on one side of the device and a weir.Stack is on the other.
//
// There is nothing here but tests. They are skipped where what they need is missing: namespaces, /dev/net/tun, a program. WEIR_REQUIRE
// lists what must not be missing ("tun,curl,ping,tshark"). With -short, and under the race detector, less data crosses.
package interop
