package main

import "net"

// peer is one implementation.
type peer struct {
	name string
	open func(mtu int) (world, error)
}

// world is two hosts and the link between them.
type world interface {
	listen() (net.Listener, error)
	dial() (net.Conn, error)
	packets() (client, server net.Conn, err error)
	close()
}

var peers = []peer{{"weir", openWeir}, {"gvisor", openGvisor}, {"kernel", openKernel}}
