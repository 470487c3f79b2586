package weir_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

func TestEchoOverPipe(t *testing.T) {
	for _, o := range []pipe.Options{{}, {NoOffload: true}} {
		a, b := newPair(t, weir.Config{}, o)
		l, err := b.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					io.Copy(c, c)
				}()
			}
		}()
		for _, addr := range []string{"192.0.2.2:80", "[2001:db8::2]:80"} {
			c, err := a.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			go func() {
				c.Write(data)
				c.(*weir.TCPConn).CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes of %d came back: %v", addr, len(got), len(data), err)
			}
			c.Close()
		}
	}
}

func TestUDPOverPipe(t *testing.T) {
	a, b := newPair(t, weir.Config{}, pipe.Options{})
	server, err := b.ListenUDP(netip.AddrPortFrom(netip.Addr{}, 53))
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 53))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, src, err := server.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "ping" || src.String() != c.LocalAddr().String() {
		t.Fatalf("%q from %v, %v", buf[:n], src, err)
	}
	if _, err := server.WriteToUDPAddrPort([]byte("pong"), src); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "pong" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
}

func TestHandleTCPAndSplice(t *testing.T) {
	a, b := newPair(t, weir.Config{}, pipe.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	b.HandleTCP(func(r *weir.TCPRequest) {
		host, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			r.Reject(err)
			return
		}
		c, err := r.Accept(r.Context())
		if err != nil {
			host.Close()
			return
		}
		if x, y, err := weir.Splice(context.Background(), c, host); err != nil || x != 1<<20 || y != 1<<20 {
			t.Errorf("relayed %d and %d: %v", x, y, err)
		}
	})
	c, err := a.Dial("tcp", "192.0.2.2:99")
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		c.Write(data)
		c.(*weir.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(data), err)
	}
}
