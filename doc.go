// Package weir is a TCP/IP stack inside a Go program: a [Stack] is a host with interfaces, addresses, routes and sockets of its own, and
// its connections are what package net's are.
//
// [New] makes a host, [Stack.AddInterface] gives it a device: a TUN of the kernel's (link/tun), a pipe to another stack in the same
// process (link/pipe), either of them behind an emulated bad link (link/emul) or a capture (link/capture). Then [Stack.Dial],
// [Stack.Listen] and [Stack.ListenPacket] work as those of package net, so that net/http, TLS and everything else that asks for a
// net.Conn, a net.Listener or a DialContext function runs over it.
//
// A forwarder takes connections to addresses that are not its own: InterfaceConfig.AnyDestination lets packets for them in, and
// [Stack.HandleTCP], [Stack.HandleUDP] and [Stack.HandleEcho] decide about each, before anything is answered. [Splice] relays.
//
// Errors are what a kernel's sockets give: *net.OpError round a portable syscall.Errno, net.ErrClosed, os.ErrDeadlineExceeded, or a
// *net.DNSError, so that errors.Is(err, syscall.ECONNREFUSED) and its kin hold on every system. What programs can tell apart is
// compared with the Linux kernel in a test, situation by situation.
//
// Time, randomness and goroutines come from [Config], so that a program can be tested with its network under virtual time: inside a
// testing/synctest bubble the zero Config uses the bubble's clock.
package weir
