package weir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/tcp/auth"
)

// signedPair opens a connection between two hosts with these keys, both ways by the public options.
func signedPair(t *testing.T, a, b *weir.Stack, client, server func(*weir.SockOpts) error, to netip.AddrPort) (x, y *weir.TCPConn, err error) {
	t.Helper()
	l, err := (&weir.ListenConfig{Stack: b, Control: server}).Listen(context.Background(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := (&weir.Dialer{Stack: a, Control: client}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, nil, err
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*weir.TCPConn), s.(*weir.TCPConn), nil
}

// Whole transfers over signed connections, with delay, both families; keys that differ never connect, and say so in the counters.
func TestSignedConnections(t *testing.T) {
	md5 := func(key string) func(*weir.SockOpts) error {
		return func(o *weir.SockOpts) error { o.Keys = &auth.Keys{MD5: []auth.MD5Key{{Key: []byte(key)}}}; return nil }
	}
	ao := func(key string, alg auth.Algorithm, send, recv uint8) func(*weir.SockOpts) error {
		return func(o *weir.SockOpts) error {
			o.Keys = &auth.Keys{AO: []auth.AOKey{{Key: []byte(key), Algorithm: alg, SendID: send, RecvID: recv}}}
			return nil
		}
	}
	plain := func(*weir.SockOpts) error { return nil }
	for _, c := range []struct {
		name           string
		client, server func(*weir.SockOpts) error
		good           bool
	}{
		{"MD5", md5("k"), md5("k"), true}, {"SHA-1", ao("k", auth.HMACSHA1, 1, 2), ao("k", auth.HMACSHA1, 2, 1), true},
		{"CMAC", ao("k", auth.AESCMAC, 1, 2), ao("k", auth.AESCMAC, 2, 1), true},
		{"SHA-256", ao("k", auth.HMACSHA256, 7, 7), ao("k", auth.HMACSHA256, 7, 7), true},
		{"MD5, other keys", md5("k"), md5("l"), false}, {"MD5, client alone", md5("k"), plain, false},
		{"MD5, server alone", plain, md5("k"), false}, {"AO, other IDs", ao("k", auth.HMACSHA1, 1, 2), ao("k", auth.HMACSHA1, 9, 9), false},
		{"AO against MD5", ao("k", auth.HMACSHA1, 1, 2), md5("k"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, 5*time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
				for _, addr := range []netip.Addr{addrB4, addrB6} {
					x, y, err := signedPair(t, a, b, c.client, c.server, netip.AddrPortFrom(addr, 179))
					if !c.good {
						st := b.Stats().TCP
						if !errors.Is(err, context.DeadlineExceeded) || st.AuthBad+st.AuthMissing+st.AuthUnexpected+st.AuthUnknownKey == 0 || st.ResetsOut != 0 {
							t.Errorf("%v, counters %+v", err, st)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					go func() { x.Write(make([]byte, 300_000)); x.CloseWrite() }()
					if n, err := io.Copy(io.Discard, y); n != 300_000 || err != nil {
						t.Fatal(n, err)
					}
					x.Close()
					y.Close()
				}
			})
		})
	}
}

// Keys change at run time: a listener's for connections to come, and the one that a connection uses (RFC 5925's rollover).
func TestKeysAtRunTime(t *testing.T) {
	inBubble(t, time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		to := netip.AddrPortFrom(addrB4, 179)
		l, err := b.ListenTCP(to)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		old, next := auth.AOKey{SendID: 1, RecvID: 1, Key: []byte("old")}, auth.AOKey{SendID: 2, RecvID: 2, Key: []byte("next"), Algorithm: auth.AESCMAC}
		md5 := &auth.Keys{MD5: []auth.MD5Key{{Key: []byte("k")}}}
		for _, k := range []auth.AOKey{old, next} {
			if err := l.SetKeys(auth.AddAO(k)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.SetKeys(auth.AddAO(old)); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("a key twice: %v", err)
		}
		if err := l.SetKeys(auth.SetMD5(auth.MD5Key{Key: []byte("x")})); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("both kinds: %v", err)
		}
		d := &weir.Dialer{Stack: a, Control: func(o *weir.SockOpts) error { o.Keys = &auth.Keys{AO: []auth.AOKey{old}}; return nil }}
		c, err := d.Dial("tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		x := c.(*weir.TCPConn)
		y, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		exchange := func() {
			t.Helper()
			for _, c := range [][2]*weir.TCPConn{{x, y}, {y, x}} {
				c[0].Write([]byte("hello"))
				c[1].SetReadDeadline(time.Now().Add(time.Second))
				if _, err := io.ReadFull(c[1], make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
			}
		}
		exchange()
		if err := x.SetKeys(auth.AddAO(next)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(x.UseAOKey(2, 2), y.UseAOKey(-1, 2)); err != nil {
			t.Fatal(err)
		}
		exchange()
		if send, recv, err := y.AOKeys(); send != 2 || err != nil {
			t.Errorf("the peer signs with key %d, asks for %d, %v", send, recv, err)
		}
		if err := x.SetKeys(auth.DeleteIDs(2, 2)); !errors.Is(err, syscall.EBUSY) {
			t.Errorf("the key in use: %v", err)
		}
		if err := x.SetKeys(auth.DeleteIDs(1, 1)); err != nil {
			t.Error(err)
		}
		if err := x.SetKeys(auth.DeleteIDs(1, 1)); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("a key that is gone: %v", err)
		}
		exchange()
		if err := x.SetKeys(auth.Replace(md5)); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("TCP-MD5 in place of TCP-AO: %v", err)
		}
		x.Close()
		y.Close()
		if err := l.SetKeys(auth.DeleteAO(netip.Prefix{}, 1, 1)); err != nil {
			t.Error(err)
		}
		if err := l.SetKeys(auth.DeleteAO(netip.Prefix{}, 1, 1)); !errors.Is(err, syscall.ENOENT) {
			t.Error(err)
		}
		// MD5 changes on both ends of an open connection.
		if err := l.SetKeys(auth.DeleteAO(netip.Prefix{}, 2, 2)); err != nil {
			t.Error(err)
		}
		x, y = connect(t, a, b, netip.AddrPortFrom(addrB4, 180))
		if err := errors.Join(x.SetKeys(auth.Replace(md5)), y.SetKeys(auth.Replace(md5))); err != nil {
			t.Fatal(err)
		}
		exchange()
		if err := errors.Join(x.SetKeys(auth.Replace(nil)), y.SetKeys(auth.Replace(nil))); err != nil {
			t.Fatal(err)
		}
		exchange()
	})
}

// What cannot be is refused before anything is sent.
func TestSockOptsErrors(t *testing.T) {
	a, _ := newPair(t, weir.Config{}, pipe.Options{})
	for name, control := range map[string]func(*weir.SockOpts) error{
		"flow label": func(o *weir.SockOpts) error { o.FlowLabel = 1 << 20; return nil },
		"empty key":  func(o *weir.SockOpts) error { o.Keys = &auth.Keys{MD5: []auth.MD5Key{{}}}; return nil },
		"both kinds": func(o *weir.SockOpts) error {
			o.Keys = &auth.Keys{MD5: []auth.MD5Key{{Key: []byte("x")}}, AO: []auth.AOKey{{Key: []byte("x")}}}
			return nil
		},
	} {
		if _, err := (&weir.Dialer{Stack: a, Control: control}).Dial("tcp", "192.0.2.2:1"); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := (&weir.ListenConfig{Stack: a, Control: control}).Listen(context.Background(), "tcp", ":0"); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Options change while sockets are open, and are refused when they are closed.
func TestSockOptsOfOpenSockets(t *testing.T) {
	a, b := newPair(t, weir.Config{}, pipe.Options{NoOffload: true})
	x, _ := connect(t, a, b, netip.AddrPortFrom(addrB6, 80))
	u, err := a.ListenUDP(netip.AddrPortFrom(addrA4, 53))
	if err != nil {
		t.Fatal(err)
	}
	change := func() error {
		return errors.Join(x.SetTTL(9), x.SetMinTTL(1), x.SetTOS(0xb8), x.SetFlowLabel(77), x.SetMaxSegment(500), x.SetTrace(nil), u.SetTTL(9), u.SetMinTTL(1), u.SetTOS(4))
	}
	if err := change(); err != nil {
		t.Error(err)
	}
	if n := x.Info().SendMSS; n > 500 {
		t.Errorf("MSS %d", n)
	}
	if err := x.SetFlowLabel(-2); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	x.Close()
	u.Close()
	if err := change(); err == nil {
		t.Error("options of closed sockets were changed")
	}
}

// The log of a connection tells of states, segments and windows in order, with no lock held.
func TestTrace(t *testing.T) {
	inBubble(t, 10*time.Millisecond, func(t *testing.T, a, b *weir.Stack) {
		var mu sync.Mutex
		var log []weir.TCPEvent
		var x *weir.TCPConn
		record := func(e weir.TCPEvent) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, e)
			if x != nil {
				_ = x.Info() // which takes the lock of the connection
			}
		}
		traced := func(o *weir.SockOpts) error { o.Trace = record; return nil }
		c, y, err := signedPair(t, a, b, traced, nil, netip.AddrPortFrom(addrB4, 80))
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		x = c
		mu.Unlock()
		go func() { c.Write(make([]byte, 5000)); c.CloseWrite() }()
		if n, err := io.Copy(io.Discard, y); n != 5000 || err != nil {
			t.Fatal(n, err)
		}
		y.Close()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		var states []string
		sent, received, windows := 0, 0, 0
		for i, e := range log {
			if i > 0 && e.Time < log[i-1].Time {
				t.Errorf("event %d is older than the one before", i)
			}
			if e.Remote != netip.AddrPortFrom(addrB4, 80) || e.Missed != 0 {
				t.Errorf("event %d: to %v, %d missed", i, e.Remote, e.Missed)
			}
			switch e.Kind {
			case weir.TCPEventState:
				states = append(states, e.State.String())
			case weir.TCPEventSent:
				sent += e.Bytes
			case weir.TCPEventReceived:
				received++
			case weir.TCPEventWindow:
				windows++
			}
		}
		if got, want := strings.Join(states, " "), "SYN-SENT ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"; got != want {
			t.Errorf("states %s, want %s", got, want)
		}
		if sent != 5000 || received < 3 || windows == 0 {
			t.Errorf("%d bytes sent, %d segments received, %d windows", sent, received, windows)
		}
	})
}

// The log of a connection, one line for each event.
func ExampleTCPConn_SetTrace() {
	var c *weir.TCPConn // from a Dial or Accept
	start := time.Duration(0)
	trace := func(e weir.TCPEvent) {
		at := time.Duration(e.Time) - start
		switch e.Kind {
		case weir.TCPEventSent, weir.TCPEventReceived:
			fmt.Printf("%v %v->%v %v %v seq %d ack %d len %d win %d\n", at, e.Local, e.Remote, e.Kind, e.Flags, e.Seq, e.Ack, e.Bytes, e.Window)
		case weir.TCPEventLost:
			fmt.Printf("%v %v->%v lost %d bytes\n", at, e.Local, e.Remote, e.Bytes)
		default:
			fmt.Printf("%v %v->%v %v: %v recovery %d cwnd %d ssthresh %d in flight %d srtt %v\n", at, e.Local, e.Remote, e.Kind, e.State, e.CAState, e.Cwnd, e.Ssthresh, e.InFlight, e.RTT)
		}
	}
	if c != nil {
		_ = c.SetTrace(trace)
	}
}
