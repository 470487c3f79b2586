package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/wire"
)

// pingSizes are bytes of echo data: none, what ping sends, what just fits 1500 bytes of IPv4, and what takes fragments.
var pingSizes = []int{0, 56, 1472, 1473, 8000, 60000}

var (
	allReceived = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received, 0% packet loss`)
	oddities    = regexp.MustCompile(`(?i)DUP|wrong data|truncated|damaged|Unreachable|bad`)
)

// ping has the kernel's ping ask weir, and checks that all was answered, once and well.
func ping(t *testing.T, f family, args ...string) {
	t.Helper()
	program := []string{"-4"}
	if f.weir.Is6() {
		program[0] = "-6"
	}
	out := nstest.Command(t, patience, "ping", append(append(program, args...), f.weir.String())...)
	m := allReceived.FindStringSubmatch(out)
	if m == nil || m[1] != m[2] || oddities.MatchString(out) {
		t.Errorf("ping %s:\n%s", strings.Join(append(program, args...), " "), out)
	}
}

// weir answers ping, and ping -6.
func TestPing(t *testing.T) {
	inBothModes(t, func(t *testing.T, plain bool) {
		w := newWorld(t, options{plain: plain})
		for _, f := range w.families {
			for _, n := range pingSizes {
				ping(t, f, "-c", "3", "-i", "0.01", "-W", "10", "-s", fmt.Sprint(n), "-p", "a55a12")
			}
			ping(t, f, "-c", "1", "-W", "10", "-M", "do", "-s", "1400")
			ping(t, f, "-q", "-f", "-c", "1000", "-w", "30")
		}
		// No ping is so large that the reply could not be: IPv4 ends at 65507 bytes, IPv6 at 65527.
		ping(t, v4, "-c", "1", "-W", "10", "-s", "65507")
		ping(t, v4, "-c", "1", "-W", "10", "-R") // an IP option: record route
	})
}

// The kernel answers pings of weir's.
func TestPingKernel(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{})
		for _, f := range w.families {
			c, err := w.stack.Dial("ip:icmp", f.kernel.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(w.deadline())
			for i, n := range pingSizes {
				if err := echo(c, f.kernel.Is6(), uint16(i), n); err != nil {
					t.Errorf("%s, %d bytes: %v", f.name, n, err)
				}
			}
		}
	})
}

// echo sends an echo request of n bytes of data, and waits for the reply.
func echo(c net.Conn, v6 bool, seq uint16, n int) error {
	request, reply := byte(wire.ICMPv4Echo), byte(wire.ICMPv4EchoReply)
	if v6 {
		request, reply = byte(wire.ICMPv6Echo), byte(wire.ICMPv6EchoReply)
	}
	msg := append([]byte{request, 0, 0, 0, 0x12, 0x34, 0, 0}, block()[:n]...)
	binary.BigEndian.PutUint16(msg[6:], seq)
	if _, err := c.Write(msg); err != nil {
		return err
	}
	got := make([]byte, 1<<16)
	for {
		k, err := c.Read(got)
		if err != nil {
			return err
		}
		if k < 8 || got[0] != reply {
			continue // what the kernel's IPv6 has to say by itself
		}
		if !bytes.Equal(got[4:k], msg[4:]) {
			return fmt.Errorf("a reply of %d bytes to a request of %d differs from it", k, len(msg))
		}
		return nil
	}
}
