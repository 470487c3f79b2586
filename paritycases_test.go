package weir_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// parityConn is what both kinds of TCP connection have.
type parityConn interface {
	net.Conn
	io.ReaderFrom
	io.WriterTo
	CloseRead() error
	CloseWrite() error
	SetKeepAlive(bool) error
	SetKeepAliveConfig(net.KeepAliveConfig) error
	SetKeepAlivePeriod(time.Duration) error
	SetLinger(int) error
	SetNoDelay(bool) error
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}

// parityUDP is what both kinds of UDP socket have.
type parityUDP interface {
	net.Conn
	net.PacketConn
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	ReadFromUDP([]byte) (int, *net.UDPAddr, error)
	WriteToUDP([]byte, *net.UDPAddr) (int, error)
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}

var background = context.Background()

func join4(ip string) string { return net.JoinHostPort(ip, "0") }

// listen opens a listener on the server.
func (w *parityWorld) listen(network, ip string) net.Listener {
	l, err := w.server.Listen(network, join4(ip))
	w.must(err)
	w.t.Cleanup(func() { l.Close() })
	return l
}

// pair returns both ends of a connection.
func (w *parityWorld) pair(ip string) (client, server parityConn) {
	l := w.listen("tcp", ip)
	c, err := w.client.Dial(background, "tcp", "", l.Addr().String())
	w.must(err)
	s, err := l.Accept()
	w.must(err)
	w.t.Cleanup(func() { c.Close(); s.Close() })
	return c.(parityConn), s.(parityConn)
}

// udp returns a socket of the server.
func (w *parityWorld) udp(network, ip string) parityUDP {
	c, err := w.server.ListenPacket(network, join4(ip))
	w.must(err)
	w.t.Cleanup(func() { c.Close() })
	return c.(parityUDP)
}

// dialUDP returns a connected socket of the client.
func (w *parityWorld) dialUDP(to net.Addr) parityUDP {
	c, err := w.client.Dial(background, "udp", "", to.String())
	w.must(err)
	w.t.Cleanup(func() { c.Close() })
	return c.(parityUDP)
}

// closedPort is an address of the server's where nobody listens.
func (w *parityWorld) closedPort(ip string) string {
	l := w.listen("tcp", ip)
	l.Close()
	return l.Addr().String()
}

var (
	past   = time.Unix(1, 0)
	buf100 = make([]byte, 100)
	huge   = make([]byte, 64<<20)
)

func soon() time.Time { return time.Now().Add(20 * time.Millisecond) }

// both runs a case on IPv4 and IPv6.
func both(fn func(w *parityWorld, ip string)) func(w *parityWorld) {
	return func(w *parityWorld) {
		fn(w, w.ip4)
		fn(w, w.ip6)
	}
}

// dialCase notes the error of a Dial.
func dialCase(network, address string) func(w *parityWorld) {
	return func(w *parityWorld) {
		address := strings.NewReplacer("IP4", w.ip4, "IP6", w.ip6, "FAR", w.far).Replace(address)
		c, err := w.client.Dial(background, network, "", address)
		if err == nil {
			c.Close()
		}
		w.note("dial", err)
	}
}

// listenCase notes the error of a Listen.
func listenCase(network, address string) func(w *parityWorld) {
	return func(w *parityWorld) {
		l, err := w.server.Listen(network, address)
		if err == nil {
			w.notef("address %T %v", l.Addr(), strings.TrimRight(l.Addr().String(), "0123456789"))
			l.Close()
		}
		w.note("listen", err)
	}
}

// packetCase notes the error of a ListenPacket.
func packetCase(network, address string) func(w *parityWorld) {
	return func(w *parityWorld) {
		l, err := w.server.ListenPacket(network, address)
		if err == nil {
			w.notef("address %T %v", l.LocalAddr(), strings.TrimRight(l.LocalAddr().String(), "0123456789"))
			l.Close()
		}
		w.note("listen", err)
	}
}

// during runs a call that blocks, then do, and notes how the call ended. That the call blocks already makes no difference to its end.
func (w *parityWorld) during(what string, call func() error, do func()) {
	end := make(chan error, 1)
	go func() { end <- call() }()
	do()
	w.note(what, <-end)
}

func readErr(c net.Conn) func() error {
	return func() error { _, err := c.Read(make([]byte, 100)); return err }
}

func writeErr(c net.Conn) func() error {
	return func() error { _, err := c.Write(huge); return err }
}

// parityCase is a situation.
type parityCase struct {
	name string
	run  func(w *parityWorld)
	far  bool // needs an address that answers nothing
}

// parityCases is the table. Each notes results and errors, which must be the same everywhere.
var parityCases = []parityCase{
	{name: "refused", run: both(func(w *parityWorld, ip string) {
		_, err := w.client.Dial(background, "tcp", "", w.closedPort(ip))
		w.note("dial", err)
	})},
	{name: "connect past its deadline", far: true, run: func(w *parityWorld) {
		ctx, cancel := context.WithDeadline(background, soon())
		defer cancel()
		_, err := w.client.Dial(ctx, "tcp", "", net.JoinHostPort(w.far, "80"))
		w.note("dial", err)
	}},
	{name: "connect with a deadline that has passed", run: func(w *parityWorld) {
		ctx, cancel := context.WithDeadline(background, past)
		defer cancel()
		_, err := w.client.Dial(ctx, "tcp", "", w.listen("tcp", w.ip4).Addr().String())
		w.note("dial", err)
	}},
	{name: "connect cancelled before", run: func(w *parityWorld) {
		ctx, cancel := context.WithCancel(background)
		cancel()
		_, err := w.client.Dial(ctx, "tcp", "", w.listen("tcp", w.ip4).Addr().String())
		w.note("dial", err)
	}},
	{name: "connect cancelled meanwhile", far: true, run: func(w *parityWorld) {
		ctx, cancel := context.WithCancel(background)
		w.during("dial", func() error {
			_, err := w.client.Dial(ctx, "tcp", "", net.JoinHostPort(w.far, "80"))
			return err
		}, cancel)
	}},
	{name: "no route", run: func(w *parityWorld) {
		dialCase("tcp", "198.18.0.1:80")(w)
		dialCase("tcp", "[2001:db8:1::1]:80")(w)
		dialCase("udp", "198.18.0.1:80")(w)
		_, err := w.udp("udp4", "0.0.0.0").WriteToUDPAddrPort(buf100, netip.MustParseAddrPort("198.18.0.1:80"))
		w.note("sendto", err)
	}},
	{name: "link-local address without zone", run: func(w *parityWorld) {
		dialCase("tcp", "[fe80::1]:80")(w)
		dialCase("udp", "[fe80::1]:80")(w)
		listenCase("tcp", "[fe80::1]:80")(w)
		packetCase("udp", "[fe80::1]:80")(w)
	}},
	{name: "unknown network", run: func(w *parityWorld) {
		for _, network := range []string{"", "tcp5", "foo", "ip4"} {
			dialCase(network, "127.0.0.1:1")(w)
		}
		listenCase("udp", "127.0.0.1:0")(w)
		listenCase("foo", "127.0.0.1:0")(w)
		packetCase("tcp", "127.0.0.1:0")(w)
	}},
	{name: "bad address", run: func(w *parityWorld) {
		for _, a := range []string{"", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:-1", "::1:80", "[::1:80", "127.0.0.1:nosuchport"} {
			dialCase("tcp", a)(w)
		}
		listenCase("tcp", "127.0.0.1")(w)
		packetCase("udp", "127.0.0.1")(w)
	}},
	{name: "address of the other family", run: func(w *parityWorld) {
		dialCase("tcp4", "[::1]:80")(w)
		dialCase("tcp6", "127.0.0.1:80")(w)
		dialCase("udp4", "[::1]:80")(w)
		listenCase("tcp4", "[::1]:0")(w)
		packetCase("udp6", "127.0.0.1:0")(w)
	}},
	{name: "addresses listened on", run: func(w *parityWorld) {
		for _, network := range []string{"tcp", "tcp4", "tcp6"} {
			listenCase(network, ":0")(w)
		}
		listenCase("tcp4", "0.0.0.0:0")(w) // "tcp" takes IPv6 too in package net, IPv4 alone in weir
		listenCase("tcp", "[::]:0")(w)
		listenCase("tcp", "localhost:0")(w)
		for _, network := range []string{"udp", "udp4", "udp6"} {
			packetCase(network, ":0")(w)
		}
		packetCase("udp", "127.0.0.1:0")(w)
	}},
	{name: "address in use", run: func(w *parityWorld) {
		l := w.listen("tcp", w.ip4)
		_, err := w.server.Listen("tcp", l.Addr().String())
		w.note("the same", err)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_, err = w.server.Listen("tcp", ":"+port)
		w.note("all", err)
		_, err = w.server.Listen("tcp4", ":"+port)
		w.note("all of IPv4", err)
		six, err := w.server.Listen("tcp6", ":"+port)
		w.note("all of IPv6", err)
		six.Close()
		u := w.udp("udp", w.ip4)
		_, err = w.server.ListenPacket("udp", u.LocalAddr().String())
		w.note("UDP", err)
		l.Close()
		l, err = w.server.Listen("tcp", l.Addr().String())
		w.note("after Close", err)
		l.Close()
	}},
	{name: "four-tuple in use", run: func(w *parityWorld) {
		c, _ := w.pair(w.ip4)
		_, err := w.client.Dial(background, "tcp", c.LocalAddr().String(), c.RemoteAddr().String())
		w.note("dial", err)
	}},
	{name: "address not available", run: func(w *parityWorld) {
		listenCase("tcp", "192.0.2.77:0")(w)
		listenCase("tcp", "[2001:db8::77]:0")(w)
		packetCase("udp", "192.0.2.77:0")(w)
		l := w.listen("tcp", w.ip4)
		_, err := w.client.Dial(background, "tcp", "192.0.2.77:0", l.Addr().String())
		w.note("dial from", err)
		_, err = w.client.Dial(background, "udp", "192.0.2.77:0", l.Addr().String())
		w.note("dial UDP from", err)
	}},
	{name: "dial all addresses", run: func(w *parityWorld) {
		l, err := w.client.Listen("tcp", ":0")
		w.must(err)
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, a := range []string{":", "0.0.0.0:", "[::]:", "localhost:"} {
			c, err := w.client.Dial(background, "tcp", "", a+port)
			w.note(a, err)
			c.Close()
		}
	}},
	{name: "bytes, EOF and half-close", run: both(func(w *parityWorld, ip string) {
		c, s := w.pair(ip)
		n, err := c.Write([]byte("hello"))
		w.noteN("write", n, err)
		w.note("close write", c.CloseWrite())
		b, err := io.ReadAll(s)
		w.noteN("read all", len(b), err)
		n, err = s.Read(buf100)
		w.noteN("read on", n, err)
		n, err = s.Write([]byte("world!"))
		w.noteN("write back", n, err)
		w.note("close", s.Close())
		b, err = io.ReadAll(c)
		w.noteN("read all", len(b), err)
		w.note("close", c.Close())
	})},
	{name: "types of addresses", run: both(func(w *parityWorld, ip string) {
		c, s := w.pair(ip)
		w.notef("%T %T %v %v", c.LocalAddr(), c.RemoteAddr(), c.LocalAddr().String() == s.RemoteAddr().String(),
			c.RemoteAddr().String() == s.LocalAddr().String())
		w.notef("%d byte", len(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().AsSlice()))
		u := w.dialUDP(s.LocalAddr())
		w.notef("%T %T", u.LocalAddr(), u.RemoteAddr())
		w.notef("%v", w.udp("udp", ip).(net.Conn).RemoteAddr() == nil)
	})},
	{name: "zero bytes", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		n, err := c.Write(nil)
		w.noteN("write", n, err)
		n, err = c.Read(nil)
		w.noteN("read", n, err)
		s.Close()
		n, err = c.Read(nil)
		w.noteN("read after FIN", n, err)
		c.CloseWrite()
		n, err = c.Write(nil)
		w.noteN("write after CloseWrite", n, err)
		c.SetDeadline(past)
		n, err = c.Read(nil)
		w.noteN("read past the deadline", n, err)
		c.Close()
		n, err = c.Read(nil)
		w.noteN("read after Close", n, err)
		n, err = c.Write(nil)
		w.noteN("write after Close", n, err)
	}},
	{name: "reset while reading", run: both(func(w *parityWorld, ip string) {
		c, s := w.pair(ip)
		s.SetLinger(0)
		w.during("read", readErr(c), func() { w.must(s.Close()) })
		w.note("read again", readErr(c)())
		w.note("write", writeErr(c)())
		w.note("set option", c.SetNoDelay(true))
		w.note("close write", c.CloseWrite())
		w.note("close", c.Close())
	})},
	{name: "reset while writing", run: both(func(w *parityWorld, ip string) {
		c, s := w.pair(ip)
		s.SetLinger(0)
		c.SetWriteBuffer(4 << 10)
		w.during("write", writeErr(c), func() {
			io.ReadFull(s, make([]byte, 200<<10))
			w.must(s.Close())
		})
		w.note("write again", writeErr(c)())
		w.note("read", readErr(c)())
	})},
	{name: "reset before writing", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		s.SetLinger(0)
		s.Close()
		w.note("write", writeErr(c)())
		w.note("write again", writeErr(c)())
		w.note("read", readErr(c)())
	}},
	{name: "reset with data to read", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		s.Write([]byte("hello"))
		s.SetLinger(0)
		s.Close()
		n, err := c.Read(buf100)
		w.noteN("read", n, err)
		n, err = c.Read(buf100)
		w.noteN("read again", n, err)
		n, err = c.Read(buf100)
		w.noteN("and again", n, err)
	}},
	{name: "peer closes with data unread", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		c.Write([]byte("hello"))
		s.Close()
		w.note("read", readErr(c)())
		w.note("read again", readErr(c)())
	}},
	{name: "write after the peer closed", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		s.Close()
		w.note("read", readErr(c)())
		n, err := c.Write([]byte("first"))
		w.noteN("write", n, err)
		n, err = c.Write([]byte("second"))
		w.noteN("write again", n, err)
		n, err = c.Write([]byte("third"))
		w.noteN("and again", n, err)
		w.note("read", readErr(c)())
	}},
	{name: "read after CloseRead", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		w.during("read", readErr(c), func() { w.note("close read", c.CloseRead()) })
		w.note("read again", readErr(c)())
		n, err := c.Write([]byte("hello"))
		w.noteN("write", n, err)
		n, err = s.Read(buf100)
		w.noteN("peer reads", n, err)
	}},
	{name: "write after CloseWrite", run: func(w *parityWorld) {
		c, _ := w.pair(w.ip4)
		c.CloseWrite()
		w.note("write", writeErr(c)())
		w.note("close write again", c.CloseWrite())
	}},
	{name: "CloseWrite while writing", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		w.during("write", writeErr(c), func() {
			io.ReadFull(s, make([]byte, 1<<20))
			c.CloseWrite()
		})
	}},
	{name: "half-close after both ends have closed", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		s.Close()
		w.note("read", readErr(c)())
		w.note("close write", c.CloseWrite())
		w.note("close write again", c.CloseWrite())
		w.note("close read", c.CloseRead())
		w.note("close", c.Close())
	}},
	{name: "closed locally while reading", run: func(w *parityWorld) {
		c, _ := w.pair(w.ip4)
		w.during("read", readErr(c), func() { w.must(c.Close()) })
		w.note("read again", readErr(c)())
	}},
	{name: "closed locally while writing", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		w.during("write", writeErr(c), func() {
			io.ReadFull(s, make([]byte, 200<<10))
			w.must(c.Close())
		})
		w.note("write again", writeErr(c)())
	}},
	{name: "after Close", run: func(w *parityWorld) {
		c, _ := w.pair(w.ip4)
		w.note("close", c.Close())
		w.note("close", c.Close())
		w.note("close read", c.CloseRead())
		w.note("close write", c.CloseWrite())
		w.note("deadline", c.SetDeadline(soon()))
		w.note("read deadline", c.SetReadDeadline(time.Time{}))
		w.note("no delay", c.SetNoDelay(true))
		w.note("keep alive", c.SetKeepAlive(true))
		w.note("linger", c.SetLinger(0))
		w.note("read buffer", c.SetReadBuffer(1000))
		_, err := c.ReadFrom(strings.NewReader("hello"))
		w.note("read from", err)
		_, err = c.WriteTo(io.Discard)
		w.note("write to", err)
		w.notef("%T %T", c.LocalAddr(), c.RemoteAddr())
	}},
	{name: "options", run: func(w *parityWorld) {
		c, _ := w.pair(w.ip4)
		w.note("no delay", c.SetNoDelay(false))
		w.note("keep alive", c.SetKeepAlive(false))
		w.note("period", c.SetKeepAlivePeriod(time.Minute))
		w.note("keep alive config", c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Count: 3}))
		w.note("linger", c.SetLinger(5))
		w.note("read buffer", c.SetReadBuffer(100000))
		w.note("write buffer", c.SetWriteBuffer(100000))
	}},
	{name: "read deadline", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		c.SetReadDeadline(soon())
		w.note("future", readErr(c)())
		w.note("still", readErr(c)())
		c.SetReadDeadline(time.Time{})
		s.Write([]byte("hello"))
		w.note("cleared", readErr(c)())
		s.Write([]byte("hello"))
		c.SetReadDeadline(past)
		w.note("past, although there is data", readErr(c)())
		n, err := c.Write([]byte("write"))
		w.noteN("write", n, err)
		s.Read(buf100)
		w.during("set while reading", readErr(s), func() { s.SetDeadline(past) })
	}},
	{name: "write deadline", run: func(w *parityWorld) {
		c, _ := w.pair(w.ip4)
		c.SetWriteDeadline(soon())
		w.note("future", writeErr(c)())
		c.SetWriteDeadline(past)
		n, err := c.Write([]byte("x"))
		w.noteN("past", n, err)
		_, err = c.Write(nil)
		w.note("nothing", err)
	}},
	{name: "accept", run: func(w *parityWorld) {
		l := w.listen("tcp", w.ip4)
		d := l.(interface{ SetDeadline(time.Time) error })
		accept := func() error { _, err := l.Accept(); return err }
		d.SetDeadline(soon())
		w.note("deadline", accept())
		d.SetDeadline(time.Time{})
		w.during("closed", accept, func() { w.must(l.Close()) })
		w.note("after close", accept())
		w.note("close again", l.Close())
		w.notef("%T", l.Addr())
	}},
	{name: "listener closes with connections waiting", run: func(w *parityWorld) {
		l := w.listen("tcp", w.ip4)
		c, err := w.client.Dial(background, "tcp", "", l.Addr().String())
		w.must(err)
		defer c.Close()
		w.during("read", readErr(c), func() { l.Close() })
	}},
	{name: "connections outlive their listener", run: func(w *parityWorld) {
		l := w.listen("tcp", w.ip4)
		c, err := w.client.Dial(background, "tcp", "", l.Addr().String())
		w.must(err)
		defer c.Close()
		s, err := l.Accept()
		w.must(err)
		l.Close()
		defer s.Close()
		s.Write([]byte("hello"))
		n, err := c.Read(buf100)
		w.noteN("read", n, err)
	}},
	{name: "peer accepted and reset", run: func(w *parityWorld) {
		l := w.listen("tcp", w.ip4)
		c, err := w.client.Dial(background, "tcp", "", l.Addr().String())
		w.must(err)
		c.(parityConn).SetLinger(0)
		c.Close()
		s, err := l.Accept()
		w.note("accept", err)
		defer s.Close()
		w.note("read", readErr(s)())
	}},
	{name: "linger", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		c.Write([]byte("hello"))
		c.SetLinger(10)
		w.note("close", c.Close())
		b, err := io.ReadAll(s)
		w.noteN("peer reads", len(b), err)
	}},
	{name: "ReadFrom and WriteTo", run: func(w *parityWorld) {
		c, s := w.pair(w.ip4)
		done := make(chan struct{})
		go func() {
			defer close(done)
			n, err := io.Copy(io.Discard, s)
			w.noteN("copy", int(n), err)
		}()
		n, err := c.ReadFrom(io.LimitReader(zeros{}, 10<<20))
		c.CloseWrite()
		<-done
		w.noteN("read from", int(n), err)
		n, err = c.ReadFrom(strings.NewReader("hello"))
		w.noteN("read from after CloseWrite", int(n), err)
		s.SetReadDeadline(past)
		_, err = s.WriteTo(io.Discard)
		w.note("write to past the deadline", err)
	}},
	{name: "UDP refused", run: both(func(w *parityWorld, ip string) {
		u := w.udp("udp", ip)
		u.Close()
		c := w.dialUDP(u.LocalAddr())
		n, err := c.Write([]byte("x"))
		w.noteN("write", n, err)
		w.note("read", readErr(c)())
		n, err = c.Write([]byte("x"))
		w.noteN("write", n, err)
		n, err = c.Write([]byte("x"))
		w.noteN("write again", n, err)
	})},
	{name: "UDP datagrams", run: both(func(w *parityWorld, ip string) {
		s := w.udp("udp", ip)
		c := w.dialUDP(s.LocalAddr())
		for _, size := range []int{5, 0, 200, 60000} {
			n, err := c.Write(make([]byte, size))
			w.noteN("write", n, err)
			n, from, err := s.ReadFromUDPAddrPort(buf100)
			w.noteN("read", n, err)
			w.notef("%v", from.String() == c.LocalAddr().String())
			n, err = s.WriteToUDPAddrPort(buf100[:n], from)
			w.noteN("write to", n, err)
			n, err = c.Read(make([]byte, 10))
			w.noteN("read back", n, err)
		}
		s.WriteToUDPAddrPort([]byte("x"), c.LocalAddr().(*net.UDPAddr).AddrPort())
		n, err := c.Read(nil)
		w.noteN("read nothing", n, err)
		n, from, err := c.ReadFrom(buf100)
		w.noteN("read from", n, err)
		w.notef("%T", from)
	})},
	{name: "UDP message too long", run: both(func(w *parityWorld, ip string) {
		c := w.dialUDP(w.udp("udp", ip).LocalAddr())
		n, err := c.Write(make([]byte, 65536))
		w.noteN("write", n, err)
		n, err = w.udp("udp", ip).WriteTo(make([]byte, 65536), c.RemoteAddr())
		w.noteN("write to", n, err)
	})},
	{name: "UDP wrong uses", run: func(w *parityWorld) {
		s := w.udp("udp", w.ip4)
		c := w.dialUDP(s.LocalAddr())
		n, err := s.Write([]byte("x"))
		w.noteN("write unconnected", n, err)
		to := netip.MustParseAddrPort(s.LocalAddr().String())
		n, err = c.WriteToUDPAddrPort([]byte("x"), to)
		w.noteN("write to, connected", n, err)
		n, err = c.WriteTo([]byte("x"), s.LocalAddr())
		w.noteN("WriteTo, connected", n, err)
		n, err = s.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(to.Addr(), 0))
		w.noteN("write to port 0", n, err)
		n, err = s.WriteToUDP([]byte("x"), nil)
		w.noteN("write to nobody", n, err)
		n, err = s.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(netip.MustParseAddr(w.ip6), 9))
		w.note("write to the other family", unnamed(err))
		_ = n
	}},
	{name: "UDP closed locally and deadlines", run: func(w *parityWorld) {
		c := w.udp("udp", w.ip4)
		c.SetReadDeadline(soon())
		w.note("future", readErr(c)())
		_, _, err := c.ReadFromUDPAddrPort(buf100)
		w.note("past", err)
		_, _, err = c.ReadFrom(buf100)
		w.note("past", err)
		c.SetWriteDeadline(past)
		_, err = c.WriteTo([]byte("x"), c.LocalAddr())
		w.note("write", err)
		c.SetDeadline(time.Time{})
		w.during("read", readErr(c), func() { c.Close() })
		_, _, err = c.ReadFrom(buf100)
		w.note("read after close", err)
		_, err = c.WriteTo([]byte("x"), c.LocalAddr())
		w.note("write after close", err)
		w.note("deadline after close", c.SetDeadline(past))
		w.note("buffer after close", c.SetReadBuffer(1000))
		w.note("close again", c.Close())
		w.notef("%T", c.LocalAddr())
	}},
}

// unnamed keeps of an error that there is one: its details differ between address families of kernels.
func unnamed(err error) error {
	if err == nil {
		return nil
	}
	return io.ErrUnexpectedEOF
}

// zeros reads as zeros for ever.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
