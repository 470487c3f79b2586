package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/sandbox/relay"
)

// The host of these tests is a network namespace with two addresses of the outside on its loopback.
const host4, host6 = "192.0.2.1", "2001:db8::53"

// onHost runs fn on a host that echoes TCP and UDP at port 7, at all of its addresses.
func onHost(t *testing.T, fn func(t *testing.T)) {
	nstest.Run(t, func(t *testing.T) {
		need(t)
		nstest.Addr(t, "lo", host4+"/32")
		nstest.Addr(t, "lo", host6+"/128")
		l, err := net.Listen("tcp", ":7")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				go func() {
					io.Copy(c, c)
					c.Close()
				}()
			}
		}()
		for _, at := range []string{host4, host6, "127.0.0.1", "::1"} { // one each: an answer comes from the address that was asked
			u, err := net.ListenPacket("udp", net.JoinHostPort(at, "7"))
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			go func() {
				b := make([]byte, 65536)
				for n, from, err := u.ReadFrom(b); err == nil; n, from, err = u.ReadFrom(b) {
					u.WriteTo(b[:n], from)
				}
			}()
		}
		fn(t)
	})
}

// stacked is a Cmd with a stack, that runs a helper.
func stacked(t testing.TB, helper string, args ...string) *Cmd {
	c := CommandContext(t.Context(), must(os.Executable()), args...)
	c.Env = append(os.Environ(), helperVariable+"="+helper)
	c.Notice = func(line string) { t.Errorf("notice: %s", line) }
	return c
}

// What the program dials is dialed from the host, and what becomes of that is what it sees.
func TestDial(t *testing.T) {
	onHost(t, func(t *testing.T) {
		random := make([]byte, 4<<20)
		for i := range random {
			random[i] = byte(i * i >> 7)
		}
		tests := []struct {
			network, address string
			loopback         bool   // Cmd.AllowHostLoopback
			data             []byte // sent, and echoed if there is no error
			err              string
		}{
			{"tcp", host4 + ":7", false, random, ""},
			{"tcp", "[" + host6 + "]:7", false, random, ""},
			{"udp", host4 + ":7", false, random[:1400], ""},
			{"udp", "[" + host6 + "]:7", false, random[:1400], ""},
			{"udp", host4 + ":7", false, random[:20000], ""}, // in fragments
			{"tcp", host4 + ":8", false, nil, "connection refused"},
			{"tcp", "[" + host6 + "]:8", false, nil, "connection refused"},
			{"udp", host4 + ":8", false, []byte("x"), "connection refused"},
			{"tcp", "203.0.113.1:7", false, nil, "network is unreachable"},
			{"tcp", "[2001:db8:1::1]:7", false, nil, "network is unreachable"},

			{"tcp", Gateway4 + ":7", false, nil, "connection refused"},
			{"tcp", "[" + Gateway6 + "]:7", false, nil, "connection refused"},
			{"tcp", "127.0.0.1:7", false, nil, "connection refused"}, // the program's own
			{"tcp", Gateway4 + ":7", true, random[:1000], ""},
			{"tcp", "[" + Gateway6 + "]:7", true, random[:1000], ""},
			{"udp", Gateway4 + ":7", true, random[:1000], ""},
			{"tcp", Gateway4 + ":8", true, nil, "connection refused"},
			{"tcp", "127.0.0.1:7", true, nil, "connection refused"},
		}
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s %s %d %v", tt.network, tt.address, len(tt.data), tt.loopback), func(t *testing.T) {
				c := stacked(t, "dial", tt.network, tt.address)
				c.AllowHostLoopback = tt.loopback
				c.Stdin = bytes.NewReader(tt.data)
				out, err := c.Output()
				switch {
				case tt.err == "" && (err != nil || !bytes.Equal(out, tt.data)):
					t.Errorf("%d bytes came back, %v: %.100s", len(out), err, out)
				case tt.err != "" && !strings.Contains(string(out), tt.err):
					t.Errorf("%s, %v, want %q", out, err, tt.err)
				}
			})
		}
	})
}

// Names are found by the host's name servers, over UDP and TCP, and the gateway's own without.
func TestNames(t *testing.T) {
	onHost(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := map[string]bool{}
		handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			mu.Lock()
			asked[w.RemoteAddr().Network()+" "+q.Question[0].Name] = true
			mu.Unlock()
			m := new(dns.Msg).SetReply(q)
			if q.Question[0].Qtype == dns.TypeA && q.Question[0].Name == "echo.example." {
				rr, _ := dns.NewRR("echo.example. 60 IN A " + host4)
				m.Answer = append(m.Answer, rr)
				m.Truncated = w.RemoteAddr().Network() == "udp"
			}
			w.WriteMsg(m)
		})
		pc, err1 := net.ListenPacket("udp", "127.0.0.1:53")
		l, err2 := net.Listen("tcp", "127.0.0.1:53")
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		go dns.ActivateAndServe(nil, pc, handler)
		go dns.ActivateAndServe(l, nil, handler)

		c := stacked(t, "dial", "tcp", "echo.example:7")
		c.Resolvers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
		c.Stdin = strings.NewReader("by name")
		if got := output(t, c); got != "by name" {
			t.Errorf("%q", got)
		}
		if mu.Lock(); !asked["udp echo.example."] || !asked["tcp echo.example."] {
			t.Errorf("asked: %v", asked)
		}
		mu.Unlock()

		c = CommandContext(t.Context(), "curl", "-sS", "--noproxy", "*", "-H", "Accept: application/json", "http://weir.internal/")
		c.Resolvers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
		if got := output(t, c); !strings.Contains(got, `"name": "weir0"`) || !strings.Contains(got, Gateway4+"/30") {
			t.Errorf("%s", got)
		}
	})
}

// A published port leads to the program's, over IPv4 and IPv6, and one that is taken is said to be.
func TestPublish(t *testing.T) {
	onHost(t, func(t *testing.T) {
		for _, listen := range []string{"tcp4", "tcp6"} {
			c := stacked(t, "serve", listen, ":80")
			c.Publish = []relay.Port{{Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: 80}, {Host: netip.MustParseAddrPort("[::1]:0"), Guest: 80}}
			in, _ := c.StdinPipe()
			out, _ := c.StdoutPipe()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			line(t, out)
			for _, at := range c.Published() {
				d := helper(t, "dial", "tcp", at.String())
				d.Stdin = strings.NewReader("from the host")
				if got, err := d.Output(); err != nil || string(got) != "from the host" {
					t.Errorf("%s at %v: %q, %v", listen, at, got, err)
				}
			}
			in.Close()
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		}
		c := stacked(t, "dial")
		c.Publish = []relay.Port{{Host: netip.MustParseAddrPort("127.0.0.1:7"), Guest: 80}}
		if err := c.Run(); ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "publish port 80: listen tcp 127.0.0.1:7") {
			t.Errorf("a port that is taken: %v", err)
		}
	})
}

// Pings go out where ping sockets are permitted. Where they are not, nobody makes a reply up, and a line says why.
func TestPing(t *testing.T) {
	onHost(t, func(t *testing.T) {
		if _, err := exec.LookPath("ping"); err != nil {
			nstest.Missing(t, "ping", err.Error())
		}
		permit := func(r string) {
			if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(r), 0); err != nil {
				t.Skip(err)
			}
		}
		permit("0 2147483647")
		for _, at := range []string{host4, host6, Gateway4, Gateway6} {
			c := CommandContext(t.Context(), "ping", "-n", "-c2", "-i0.01", "-W10", at)
			if got := output(t, c); !strings.Contains(got, " 0% packet loss") {
				t.Errorf("%s", got)
			}
		}
		permit("1 0")
		for _, tt := range []struct{ at, says string }{{host4, "filtered"}, {host6, "prohibited"}} {
			var notices []string
			c := CommandContext(t.Context(), "ping", "-n", "-c1", "-W10", tt.at)
			c.Notice = func(line string) { notices = append(notices, line) }
			out, err := c.CombinedOutput()
			if ExitCode(err) != 1 || !strings.Contains(strings.ToLower(string(out)), tt.says) || !strings.Contains(string(out), " 100% packet loss") {
				t.Errorf("%s: %s, %v", tt.at, out, err)
			}
			if len(notices) != 1 || !strings.Contains(notices[0], "net.ipv4.ping_group_range") {
				t.Errorf("notices %q", notices)
			}
		}
	})
}

// The capture has what crossed, in the program's view of names and directions.
func TestCapture(t *testing.T) {
	onHost(t, func(t *testing.T) {
		var pcap bytes.Buffer
		c := stacked(t, "dial", "tcp", host4+":7")
		c.Stdin = strings.NewReader("a line for the capture")
		c.Capture = &pcap
		output(t, c)
		if b := pcap.Bytes(); !bytes.HasPrefix(b, []byte{0x0a, 0x0d, 0x0d, 0x0a}) || bytes.Count(b, []byte("a line for the capture")) != 2 || !bytes.Contains(b, []byte("weir0")) {
			t.Errorf("%d bytes", len(b))
		}
	})
}

// A user without rights has all of it.
func TestUnprivilegedNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be nobody")
	}
	onHost(t, func(t *testing.T) {
		openTUN(t)
		c := helper(t, "stack", must(os.Executable()), "tcp", host4+":7")
		c.Env = append(c.Env, innerVariable+"=dial")
		c.Stdin = strings.NewReader("from nobody")
		asNobody(t, c)
		// The binary lies where only its owner may look.
		c.Args[1] = "/proc/self/exe"
		if out, err := c.CombinedOutput(); err != nil || string(out) != "from nobody" {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// Connections that are open when the program ends do not hold anything up, and the host's side of them ends.
func TestEndsConnections(t *testing.T) {
	onHost(t, func(t *testing.T) {
		l, err := net.Listen("tcp", host4+":9")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c := stacked(t, "hang", "tcp", host4+":9")
		in, _ := c.StdinPipe()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("Read = %d, %v, want the connection's end", n, err)
		}
	})
}
