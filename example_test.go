package weir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/wire"
)

// twoHosts are 192.0.2.1 and 192.0.2.2, joined by a pipe. The second takes whatever the first sends anywhere.
func twoHosts() (a, b *weir.Stack) {
	da, db := pipe.New(pipe.Options{})
	return host(weir.InterfaceConfig{
			Device: da, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}, Gateway4: netip.MustParseAddr("192.0.2.2"),
		}), host(weir.InterfaceConfig{
			Device: db, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}, AnyDestination: true,
		})
}

func host(c weir.InterfaceConfig) *weir.Stack {
	s, err := weir.New(weir.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := s.AddInterface(c); err != nil {
		log.Fatal(err)
	}
	return s
}

// echoServer sends everything back to whoever connects to port 7.
func echoServer(s *weir.Stack) {
	l, err := s.Listen("tcp", ":7")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
}

// Two hosts in one process, joined by a pipe; one dials the other.
func Example() {
	da, db := pipe.New(pipe.Options{})
	a, _ := weir.New(weir.Config{})
	defer a.Close()
	a.AddInterface(weir.InterfaceConfig{Device: da, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	b, _ := weir.New(weir.Config{})
	defer b.Close()
	b.AddInterface(weir.InterfaceConfig{Device: db, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}})

	l, err := b.Listen("tcp", ":7")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "hello, %v", c.RemoteAddr().(*net.TCPAddr).IP)
		c.Close()
	}()

	c, err := a.Dial("tcp", "192.0.2.2:7")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	answer, err := io.ReadAll(c)
	fmt.Println(string(answer), err)
	// Output: hello, 192.0.2.1 <nil>
}

// Serve and fetch HTTP.
func ExampleStack_Listen() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()

	l, err := b.Listen("tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you asked %s for %s", r.Host, r.URL.Path)
	}))

	client := http.Client{Transport: &http.Transport{DialContext: a.DialContext}}
	r, err := client.Get("http://192.0.2.2/page")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	fmt.Println(string(body), err)
	// Output: you asked 192.0.2.2 for /page <nil>
}

// Forward everything: each connection that a host makes to anywhere is dialled on the network of this machine, and answered only when
// that has succeeded.
func ExampleStack_HandleTCP() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()

	// What the forwarder dials: here always a server on this machine's loopback, else r.Dst.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "this is %s", r.Host)
	}))

	b.HandleTCP(func(r *weir.TCPRequest) {
		if r.Dst.Port() != 80 {
			r.Reject(syscall.EHOSTUNREACH)
			return
		}
		var d net.Dialer
		out, err := d.DialContext(r.Context(), "tcp", l.Addr().String())
		if err != nil {
			r.Reject(err) // refused, unreachable, timed out: the program behind a sees the same
			return
		}
		in, err := r.Accept(r.Context())
		if err != nil {
			out.Close()
			return
		}
		weir.Splice(context.Background(), in, out)
	})

	client := http.Client{Transport: &http.Transport{DialContext: a.DialContext}}
	r, err := client.Get("http://198.51.100.7/")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	fmt.Println(string(body), err)
	_, err = a.Dial("tcp", "198.51.100.7:443")
	fmt.Println(errors.Is(err, syscall.EHOSTUNREACH))
	// Output:
	// this is 198.51.100.7 <nil>
	// true
}

// Answer for a whole network's DNS, say: each flow of datagrams to anywhere is a request.
func ExampleStack_HandleUDP() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	b.SetRoutes([]weir.Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1")}})

	b.HandleUDP(func(r *weir.UDPRequest) {
		c, err := r.Accept(r.Context())
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 1500)
		n, err := c.Read(b)
		if err == nil {
			fmt.Fprintf(c, "%v has %q for you", r.Dst, b[:n])
		}
	})

	c, err := a.Dial("udp", "198.51.100.7:53")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "a question")
	b100 := make([]byte, 100)
	n, err := c.Read(b100)
	fmt.Println(string(b100[:n]), err)
	// Output: 198.51.100.7:53 has "a question" for you <nil>
}

// Pretend that every address can be pinged.
func ExampleStack_HandleEcho() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	b.HandleEcho(func(r *weir.EchoRequest) { r.Reply(r.Data()) })

	c, err := a.Dial("ip4:icmp", "198.51.100.7")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte{8, 0, 0, 0, 0, 1, 0, 1, 'h', 'i'}) // type 8: echo request; the checksum is filled in
	m := make([]byte, 100)
	n, err := c.Read(m)
	fmt.Printf("type %d, %q, %v\n", m[0], m[8:n], err)
	// Output: type 0, "hi", <nil>
}

func ExampleStack_DialTCP() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	echoServer(b)

	c, err := a.DialTCP(context.Background(), netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.2:7"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.LocalAddr(), c.RemoteAddr(), c.Info().State)
	// Output: 192.0.2.1:5000 192.0.2.2:7 ESTABLISHED
}

func ExampleStack_ListenPacket() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()

	p, err := b.ListenPacket("udp", ":9")
	if err != nil {
		log.Fatal(err)
	}
	c, err := a.DialUDP(context.Background(), netip.AddrPort{}, netip.MustParseAddrPort("192.0.2.2:9"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(c, "ping")
	m := make([]byte, 1500)
	n, from, err := p.ReadFrom(m)
	fmt.Println(string(m[:n]), from.String() == c.LocalAddr().String(), err)
	// Output: ping true <nil>
}

func ExampleStack_ListenUDP() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()

	server, err := b.ListenUDP(netip.MustParseAddrPort("192.0.2.2:9"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := a.ListenUDP(netip.AddrPort{})
	if err != nil {
		log.Fatal(err)
	}
	client.WriteToUDPAddrPort([]byte("ping"), netip.MustParseAddrPort("192.0.2.2:9"))
	m := make([]byte, 1500)
	n, from, err := server.ReadFromUDPAddrPort(m) // neither of the two allocates
	fmt.Println(string(m[:n]), from.Addr(), err)
	// Output: ping 192.0.2.1 <nil>
}

// A listener's own type has deadlines.
func ExampleStack_ListenTCP() {
	_, b := twoHosts()
	defer b.Close()
	l, err := b.ListenTCP(netip.MustParseAddrPort("192.0.2.2:80"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = b.ListenTCP(netip.MustParseAddrPort("192.0.2.2:80"))
	fmt.Println(l.Addr(), errors.Is(err, syscall.EADDRINUSE))
	// Output: 192.0.2.2:80 true
}

func ExampleStack_LookupNetIP() {
	s, err := weir.New(weir.Config{}) // Config.DNS would name the servers
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	addrs, err := s.LookupNetIP(context.Background(), "ip", "localhost")
	fmt.Println(addrs, err)
	_, err = s.LookupNetIP(context.Background(), "ip", "example.org")
	var e *net.DNSError
	fmt.Println(errors.As(err, &e), e.Err)
	// Output:
	// [127.0.0.1 ::1] <nil>
	// true no DNS server: set weir.Config.DNS
}

func ExampleDialer() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	echoServer(b)

	d := weir.Dialer{
		Stack: a,
		Local: netip.MustParseAddrPort("192.0.2.1:5000"),
		Control: func(o *weir.SockOpts) error { // before the SYN is sent
			o.Congestion = "reno"
			o.ReceiveBuffer = 1 << 20
			return nil
		},
	}
	c, err := d.Dial("tcp", "192.0.2.2:7")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.LocalAddr(), c.(*weir.TCPConn).Info().Congestion)
	// Output: 192.0.2.1:5000 reno
}

// Listen on all addresses there are, ours or not.
func ExampleListenConfig() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	b.SetRoutes([]weir.Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1")}})

	l, err := (&weir.ListenConfig{Stack: b, Transparent: true}).Listen(context.Background(), "tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := a.Dial("tcp", "198.51.100.7:80"); err != nil {
		log.Fatal(err)
	}
	c, err := l.Accept()
	fmt.Println(c.LocalAddr(), err)
	// Output: 198.51.100.7:80 <nil>
}

func ExampleSplice() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	echoServer(b)

	browser, us := net.Pipe() // some connection of the program's
	server, err := a.Dial("tcp", "192.0.2.2:7")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		fmt.Fprint(browser, "hello")
		b := make([]byte, 5)
		io.ReadFull(browser, b)
		browser.Close()
	}()
	fmt.Println(weir.Splice(context.Background(), us, server))
	// Output: 5 5 <nil>
}

func ExampleStack_Conns() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	echoServer(b)
	c, err := a.DialTCP(context.Background(), netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.2:7"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for c := range a.Conns() {
		fmt.Println(c.Network, c.Local, c.Remote, c.State)
	}
	// Output: tcp 192.0.2.1:5000 192.0.2.2:7 ESTABLISHED
}

func ExampleStack_Stats() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	_, err := a.Dial("tcp", "192.0.2.2:7") // nobody listens there
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED), a.Stats().TCP.ActiveOpens, b.Stats().TCP.ResetsOut)
	// Output: true 1 1
}

func ExampleInterface_SetAddrs() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	i := b.Interface("eth0")
	i.SetAddrs(netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("192.0.2.3/24"))
	fmt.Println(i.Info().Addrs)
	// Output: [192.0.2.2/24 192.0.2.3/24]
}

func ExampleTCPConn_WriteBuffers() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	echoServer(b)
	c, err := a.DialTCP(context.Background(), netip.AddrPort{}, netip.MustParseAddrPort("192.0.2.2:7"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	n, err := c.WriteBuffers(net.Buffers{[]byte("header "), []byte("body")}) // one packet
	fmt.Println(n, err)
	// Output: 11 <nil>
}

// Hand memory over instead of having it copied.
func ExampleTCPConn_WriteOwned() {
	a, b := twoHosts()
	defer a.Close()
	defer b.Close()
	echoServer(b)
	c, err := a.DialTCP(context.Background(), netip.AddrPort{}, netip.MustParseAddrPort("192.0.2.2:7"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var rope buffer.Buffer
	rope.AppendOwned(bytes.Repeat([]byte("x"), 100_000))
	n, err := c.WriteOwned(&rope)
	c.CloseWrite()
	back, _ := io.ReadAll(c)
	fmt.Println(n, err, rope.Size(), len(back))
	// Output: 100000 <nil> 0 100000
}

// The log of all connections of a host, one line for each event. This one leaves out those that are not about the handshake or a state.
func ExampleConfig_trace() {
	da, db := pipe.New(pipe.Options{})
	a := host(weir.InterfaceConfig{Device: da, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	defer a.Close()
	b, err := weir.New(weir.Config{Trace: func(e weir.TCPEvent) {
		switch {
		case e.Kind == weir.TCPEventState:
			fmt.Printf("%v is now %v\n", e.Local, e.State)
		case e.Flags.Has(wire.SYN):
			fmt.Printf("%v %v %v\n", e.Local, e.Kind, e.Flags)
		}
	}})
	if err != nil {
		log.Fatal(err)
	}
	b.AddInterface(weir.InterfaceConfig{Device: db, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}})
	echoServer(b)
	if _, err := a.Dial("tcp", "192.0.2.2:7"); err != nil {
		log.Fatal(err)
	}
	b.Close() // resets the connection, and tells what it has not told yet
	// Output:
	// 192.0.2.2:7 received SYN
	// 192.0.2.2:7 sent SYN|ACK
	// 192.0.2.2:7 is now ESTABLISHED
	// 192.0.2.2:7 is now CLOSED
}
