package interop

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/capture"
)

// everyChecksum has tshark verify what it leaves to network cards by default.
var everyChecksum = []string{"-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"}

// tshark reads a capture; the frames that filter selects, one a line.
func tshark(t *testing.T, file, filter string, args ...string) []string {
	t.Helper()
	args = append(append([]string{"-n", "-r", file, "-Y", filter}, everyChecksum...), args...)
	out := nstest.Command(t, patience, "tshark", args...)
	if out == "" {
		return nil
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

// tshark opens what was captured while all kinds of packets crossed, and finds nothing wrong with any of them.
func TestCapture(t *testing.T) {
	inBothModes(t, func(t *testing.T, plain bool) {
		file := filepath.Join(t.TempDir(), "interop.pcapng")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		buffered := bufio.NewWriterSize(f, 1<<20)
		recorder := capture.NewWriter(buffered)
		w := newWorld(t, options{plain: plain, wrap: func(d link.Device) link.Device {
			return recorder.Wrap(d, capture.Options{Name: device})
		}})
		for _, f := range w.families {
			for _, d := range dials {
				w.together(exchange(d.open(w, f), size(1<<20))...)
			}
			server := w.open(udpSides[0].listen(w, netip.AddrPortFrom(f.kernel, 0)))
			client := w.open(udpSides[1].dial(w, addrPort(server.LocalAddr())))
			for _, n := range datagramSizes {
				if err := datagram(client, server, n); err != nil {
					t.Errorf("%s, %d bytes: %v", f.name, n, err)
				}
			}
			ping(t, f, "-c", "1", "-W", "10", "-s", "8000")
			if c, err := kernelDial(w.ctx, netip.AddrPortFrom(f.weir, 9)); err == nil { // a RST
				c.Close()
			}
			refused := w.open(udpSides[0].dial(w, netip.AddrPortFrom(f.weir, 9))) // an ICMP error
			if _, err := refused.Write([]byte("anybody?")); err != nil {
				t.Error(err)
			}
			if _, err := refused.Read(make([]byte, 1)); err == nil {
				t.Error("nobody refused")
			}
		}
		w.stack.Close()
		if err := recorder.Err(); err != nil {
			t.Fatal(err)
		}
		buffered.Flush()
		f.Close()
		checkCapture(t, file, plain)
	})
}

// wrong is what must not be in a capture: frames that tshark cannot take apart, wrong checksums (0 is "bad"), and what its experts call an
// error.
const wrong = "_ws.malformed || _ws.short || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || " +
	"icmp.checksum.status == 0 || icmpv6.checksum.status == 0 || _ws.expert.severity >= 8388608"

func checkCapture(t *testing.T, file string, plain bool) {
	t.Helper()
	if bad := tshark(t, file, wrong); len(bad) > 0 {
		t.Errorf("%d frames are wrong:\n%s", len(bad), strings.Join(bad[:min(len(bad), 20)], "\n"))
	}
	for what, filter := range map[string]string{
		"TCP over IPv4, from the kernel, good":  "tcp && ip.src == 198.18.0.1 && tcp.checksum.status == 1 && tcp.len > 0",
		"TCP over IPv4, from weir, good":        "tcp && ip.src == 198.18.0.2 && tcp.checksum.status == 1 && tcp.len > 0",
		"TCP over IPv6, from the kernel, good":  "tcp && ipv6.src == 2001:db8::1 && tcp.checksum.status == 1 && tcp.len > 0",
		"TCP over IPv6, from weir, good":        "tcp && ipv6.src == 2001:db8::2 && tcp.checksum.status == 1 && tcp.len > 0",
		"UDP put together from fragments, good": "udp && ip.reassembled_in || udp && ip.fragment.count && udp.checksum.status == 1",
		"such UDP over IPv6, good":              "udp && ipv6.fragment.count && udp.checksum.status == 1",
		"a refusal":                             "tcp.flags.reset == 1",
		"ICMP port unreachable":                 "icmp.type == 3 && icmp.code == 3",
		"ICMPv6 port unreachable":               "icmpv6.type == 1 && icmpv6.code == 4",
		"inbound packets":                       "frame.packet_flags_direction == 1",
		"outbound packets":                      "frame.packet_flags_direction == 2",
		"the name of the interface":             "frame.interface_name == " + device,
	} {
		if len(tshark(t, file, filter, "-c", "20000")) == 0 {
			t.Errorf("tshark finds no %s (%s)", what, filter)
		}
	}
	large := tshark(t, file, "frame.len > 1500", "-c", "20000")
	if plain != (len(large) == 0) {
		t.Errorf("%d super-segments in the capture, plain is %v", len(large), plain)
	}
}
