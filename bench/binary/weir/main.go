// Command weir does with two stacks of weir's what its neighbour does with Go's net.
package main

import (
	"net/netip"
	"os"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
)

func main() {
	da, db := pipe.New(pipe.Options{})
	a, b := host(da, "192.0.2.1/24"), host(db, "192.0.2.2/24")
	l, err := b.Listen("tcp", "192.0.2.2:80")
	if err != nil {
		fail(err)
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Write([]byte("hello\n"))
			c.Close()
		}
	}()
	c, err := a.Dial("tcp", l.Addr().String())
	if err != nil {
		fail(err)
	}
	var buf [16]byte
	n, err := c.Read(buf[:])
	if err != nil {
		fail(err)
	}
	os.Stdout.Write(buf[:n])
}

func host(dev link.Device, addr string) *weir.Stack {
	s, err := weir.New(weir.Config{})
	if err != nil {
		fail(err)
	}
	if _, err := s.AddInterface(weir.InterfaceConfig{Device: dev, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}); err != nil {
		fail(err)
	}
	return s
}

func fail(err error) {
	os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(1)
}
