package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	gateway4 = netip.MustParseAddr("198.18.0.1")
	gateway6 = netip.MustParseAddr("2001:db8::1")
	guest4   = netip.MustParseAddr("198.18.0.2")
	guest6   = netip.MustParseAddr("2001:db8::2")
)

// world is a program's stack (guest) and the one that a relay joins to this host, back to back.
type world struct {
	guest *weir.Stack
	relay *Relay

	mu    sync.Mutex
	lines []string
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{}
	inside, outside := pipe.New(pipe.Options{})
	w.guest = newStack(t, weir.InterfaceConfig{
		Device: inside, Addrs: []netip.Prefix{netip.PrefixFrom(guest4, 24), netip.PrefixFrom(guest6, 64)}, Gateway4: gateway4, Gateway6: gateway6,
	}, weir.Config{DNS: []netip.AddrPort{netip.AddrPortFrom(gateway4, 53)}})
	gw := newStack(t, weir.InterfaceConfig{
		Device: outside, Addrs: []netip.Prefix{netip.PrefixFrom(gateway4, 24), netip.PrefixFrom(gateway6, 64)}, AnyDestination: true,
	}, weir.Config{})
	o.Gateway4, o.Gateway6 = gateway4, gateway6
	o.Log = func(s string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lines = append(w.lines, s)
	}
	r, err := Start(gw, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	w.relay = r
	return w
}

func newStack(t *testing.T, i weir.InterfaceConfig, c weir.Config) *weir.Stack {
	t.Helper()
	s, err := weir.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.AddInterface(i); err != nil {
		t.Fatal(err)
	}
	return s
}

// within is a context that ends a test which hangs.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// hostEcho is a TCP server of the host that sends back what comes, and returns its port.
func hostEcho(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func TestTCPBothWaysWithHalfClose(t *testing.T) {
	w := newWorld(t, Options{AllowHostLoopback: true})
	port := hostEcho(t)
	c, err := w.guest.DialTCP(within(t), netip.AddrPort{}, netip.AddrPortFrom(gateway4, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data := bytes.Repeat([]byte("weir"), 1<<18)
	go func() {
		_, _ = c.Write(data)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back (%v), want the %d sent", len(got), err, len(data))
	}
}

func TestRefusals(t *testing.T) {
	closed := func() uint16 { // a port of the host on which nobody listens
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).AddrPort().Port()
	}()
	t.Run("host loopback is closed", func(t *testing.T) {
		w := newWorld(t, Options{})
		port := hostEcho(t)
		if _, err := w.guest.DialTCP(within(t), netip.AddrPort{}, netip.AddrPortFrom(gateway4, port)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to the host's loopback: %v, want ECONNREFUSED", err)
		}
	})
	t.Run("refused outside is refused inside", func(t *testing.T) {
		w := newWorld(t, Options{AllowHostLoopback: true})
		if _, err := w.guest.DialTCP(within(t), netip.AddrPort{}, netip.AddrPortFrom(gateway4, closed)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a closed port: %v, want ECONNREFUSED", err)
		}
	})
}

func TestOutsideNeverMeansThisHost(t *testing.T) {
	r := &Relay{o: Options{Gateway4: gateway4, Gateway6: gateway6}}
	for _, a := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "0.0.0.0:80", "[::]:80", "224.0.0.1:80", "[ff02::1]:80",
		"198.18.0.1:80", "[2001:db8::1]:80"} {
		if to, err := r.outside(netip.MustParseAddrPort(a)); err == nil {
			t.Errorf("%s may be reached, as %s", a, to)
		}
	}
	if to, err := r.outside(netip.MustParseAddrPort("192.0.2.7:80")); err != nil || to.String() != "192.0.2.7:80" {
		t.Errorf("192.0.2.7:80 becomes %v, %v", to, err)
	}
	r.o.AllowHostLoopback = true
	for a, want := range map[string]string{"198.18.0.1:80": "127.0.0.1:80", "[2001:db8::1]:80": "[::1]:80"} {
		if to, err := r.outside(netip.MustParseAddrPort(a)); err != nil || to.String() != want {
			t.Errorf("%s becomes %v, %v; want %s", a, to, err, want)
		}
	}
}

func TestRejections(t *testing.T) {
	for err, want := range map[error]error{
		&net.OpError{Err: syscall.ECONNREFUSED}: syscall.ECONNREFUSED,
		&net.OpError{Err: syscall.ENETUNREACH}:  syscall.ENETUNREACH,
		&net.OpError{Err: syscall.EHOSTUNREACH}: syscall.EHOSTUNREACH,
		&net.OpError{Err: syscall.EPERM}:        syscall.EACCES,
		&net.OpError{Err: syscall.ETIMEDOUT}:    syscall.ETIMEDOUT,
		context.DeadlineExceeded:                syscall.ETIMEDOUT,
		errors.New("what else"):                 syscall.EHOSTUNREACH,
	} {
		if got := rejection(err); got != want {
			t.Errorf("rejection(%v) = %v, want %v", err, got, want)
		}
	}
}

func TestUDPFlow(t *testing.T) {
	w := newWorld(t, Options{AllowHostLoopback: true})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append([]byte("re: "), buf[:n]...), from)
		}
	}()
	port := pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	c, err := w.guest.DialUDP(within(t), netip.AddrPort{}, netip.AddrPortFrom(gateway4, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 100)
	for _, msg := range []string{"one", "two", ""} {
		if _, err := c.Write([]byte(msg)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil || string(buf[:n]) != "re: "+msg {
			t.Errorf("got %q, %v, want %q", buf[:n], err, "re: "+msg)
		}
	}
}

func TestUDPFlowsAreBounded(t *testing.T) {
	w := newWorld(t, Options{AllowHostLoopback: true, MaxUDPFlows: 1})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetReadDeadline(time.Now().Add(20 * time.Second))
	to := netip.AddrPortFrom(gateway4, pc.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	for i := range 2 {
		c, err := w.guest.DialUDP(within(t), netip.AddrPort{}, to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, _, err := pc.ReadFrom(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = pc.SetReadDeadline(time.Now().Add(-time.Second)) // what has not come has not come: the refusal is decided in the write above
	if n, _, err := pc.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("a datagram of %d bytes of a second flow came through", n)
	}
}

func TestEchoIsNeverFaked(t *testing.T) {
	if c, err := net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
		t.Skip(err)
	} else {
		c.Close()
	}
	w := newWorld(t, Options{AllowHostLoopback: true})
	if _, err := w.relay.ping(netip.MustParseAddr("127.0.0.1"), 1, nil); err == nil {
		t.Skip("ping sockets are permitted here")
	}
	c, err := w.guest.DialContext(within(t), "ip4:icmp", "192.0.2.77")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	echo := []byte{8, 0, 0, 0, 0, 1, 0, 1, 'h', 'i'}
	buf := make([]byte, 2000)
	for range 2 {
		if _, err := c.Write(echo); err != nil {
			t.Fatal(err)
		}
	}
	// The prohibition is an ICMP error about our echo; no reply may come, so wait for what the relay says.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		w.mu.Lock()
		n := len(w.lines)
		w.mu.Unlock()
		if n > 0 {
			break
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := c.Read(buf); err == nil && buf[0] == 0 {
			t.Fatalf("a reply of %d bytes was made up", n)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) != 1 || !strings.Contains(w.lines[0], "ping_group_range") {
		t.Errorf("the person was told %q, want one line that names ping_group_range", w.lines)
	}
}

// resolver is a name server of the host that knows one name.
func resolver(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR("known.example. 60 IN A 192.0.2.33")
		if strings.EqualFold(q.Question[0].Name, "known.example.") {
			m.Answer = append(m.Answer, rr)
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: answer}, {Listener: l, Handler: answer}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return at
}

func TestDNS(t *testing.T) {
	dead := netip.MustParseAddrPort("127.0.0.1:1") // refuses: the next is asked
	w := newWorld(t, Options{Resolvers: []netip.AddrPort{dead, resolver(t)}})
	for _, c := range []struct {
		network, name string
		want          []string
	}{
		{"ip4", "weir.internal", []string{gateway4.String()}},
		{"ip6", "weir.internal", []string{gateway6.String()}},
		{"ip4", "Known.Example", []string{"192.0.2.33"}},
		{"ip4", "unknown.example", nil},
		{"ip4", "other.weir.internal", nil},
	} {
		got, err := w.guest.LookupNetIP(within(t), c.network, c.name)
		var dnsErr *net.DNSError
		if len(c.want) == 0 {
			if !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
				t.Errorf("%s: %v, %v; want that there is no such host", c.name, got, err)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0].String() != c.want[0] {
			t.Errorf("%s (%s): %v, %v; want %v", c.name, c.network, got, err, c.want)
		}
	}
	t.Run("TCP", func(t *testing.T) {
		conn, err := w.guest.DialContext(within(t), "tcp", netip.AddrPortFrom(gateway6, 53).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &dns.Conn{Conn: conn}
		if err := c.WriteMsg(new(dns.Msg).SetQuestion("known.example.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		m, err := c.ReadMsg()
		if err != nil || len(m.Answer) != 1 {
			t.Errorf("answer %v, %v", m, err)
		}
	})
}

func TestDNSWithoutResolvers(t *testing.T) {
	w := newWorld(t, Options{Resolvers: []netip.AddrPort{}})
	_, err := w.guest.LookupNetIP(within(t), "ip4", "known.example")
	var dnsErr *net.DNSError
	if !errors.As(err, &dnsErr) || dnsErr.IsNotFound {
		t.Errorf("%v, want a server failure", err)
	}
}

func TestPage(t *testing.T) {
	w := newWorld(t, Options{})
	client := http.Client{Transport: &http.Transport{DialContext: w.guest.DialContext}}
	defer client.CloseIdleConnections()
	get := func(path, accept string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://weir.internal"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	if resp, body := get("/", "text/html,*/*"); resp.StatusCode != 200 || !strings.Contains(body, "ESTABLISHED") {
		t.Errorf("the page does not show our own connection:\n%s", body)
	}
	resp, body := get("/", "application/json")
	var v View
	if err := json.Unmarshal([]byte(body), &v); err != nil || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("no JSON: %v\n%s", err, body)
	}
	own := false
	for _, c := range v.Connections {
		own = own || strings.HasSuffix(c.Local, ":80") && c.State == "ESTABLISHED" && c.Received > 0
	}
	if !own || len(v.Interfaces) < 2 || v.Counters.TCP.PassiveOpens == 0 {
		t.Errorf("the JSON does not tell what is there:\n%s", body)
	}
	if resp, _ := get("/other", ""); resp.StatusCode != 404 {
		t.Errorf("status %d for a page that is not there", resp.StatusCode)
	}
}

func TestPublish(t *testing.T) {
	w := newWorld(t, Options{})
	l, err := w.guest.ListenTCP(netip.AddrPortFrom(guest4, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "from inside")
	}()
	at, err := w.relay.Publish(Port{netip.MustParseAddrPort("127.0.0.1:0"), 80}, guest4, guest6)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "from inside" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := w.relay.Publish(Port{at, 81}, guest4); err == nil {
		t.Error("a port that is taken was published")
	}
	refused, err := w.relay.Publish(Port{netip.MustParseAddrPort("127.0.0.1:0"), 81}, guest4, guest6)
	if err != nil {
		t.Fatal(err)
	}
	d, err := net.Dial("tcp", refused.String())
	if err == nil {
		defer d.Close()
		_, err = d.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) { // which may be as fast as the dial
		t.Errorf("a port that the program refuses gives %v, want ECONNRESET", err)
	}
}

func TestParsePort(t *testing.T) {
	for in, want := range map[string]Port{
		"8080:80":           {netip.MustParseAddrPort("127.0.0.1:8080"), 80},
		"127.0.0.2:8080:80": {netip.MustParseAddrPort("127.0.0.2:8080"), 80},
		"0.0.0.0:8080:80":   {netip.MustParseAddrPort("0.0.0.0:8080"), 80},
		"[::1]:8080:80":     {netip.MustParseAddrPort("[::1]:8080"), 80},
		"0:80":              {netip.MustParseAddrPort("127.0.0.1:0"), 80},
	} {
		if got, err := ParsePort(in); err != nil || got != want {
			t.Errorf("ParsePort(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "80", "80:", ":80", "x:80", "80:x", "8080:0", "8080:65536", "70000:80", "1.2.3:80:80", "::1:80:80", "host:80:80"} {
		if got, err := ParsePort(in); err == nil {
			t.Errorf("ParsePort(%q) = %v", in, got)
		}
	}
}
