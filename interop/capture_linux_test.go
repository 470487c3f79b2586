package interop

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/capture"
)

// tsharkOptions have tshark verify every checksum, of which it leaves some to network cards by default, and not guess from ports, which are
// chosen at random, or from data, which is random, what protocol the data could be of.
var tsharkOptions = []string{
	"-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
	"-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data",
}

// tshark reads a capture and returns what it writes.
func tshark(t *testing.T, file string, args ...string) string {
	t.Helper()
	return nstest.Command(t, patience, "tshark", append(append([]string{"-n", "-r", file}, tsharkOptions...), args...)...)
}

// frames counts the frames that each of the filters selects.
func frames(t *testing.T, file string, filters []string) []int {
	t.Helper()
	out := tshark(t, file, "-q", "-z", "io,stat,0,"+strings.Join(filters, ","))
	for line := range strings.Lines(out) { // | 0.000 <> 1.234 | frames | bytes | frames | bytes ...
		if !strings.Contains(line, "<>") {
			continue
		}
		cells := strings.Split(line, "|")[2:]
		var counts []int
		for i := range filters {
			n, err := strconv.Atoi(strings.TrimSpace(cells[2*i]))
			if err != nil {
				t.Fatalf("tshark's statistics:\n%s", out)
			}
			counts = append(counts, n)
		}
		return counts
	}
	t.Fatalf("tshark's statistics:\n%s", out)
	return nil
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
	if bad := tshark(t, file, "-Y", wrong); bad != "" {
		t.Errorf("frames that are wrong:\n%s", bad[:min(len(bad), 2000)])
	}
	there := []string{
		"tcp && ip.src == 198.18.0.1 && tcp.checksum.status == 1 && tcp.len > 0",
		"tcp && ip.src == 198.18.0.2 && tcp.checksum.status == 1 && tcp.len > 0",
		"tcp && ipv6.src == 2001:db8::1 && tcp.checksum.status == 1 && tcp.len > 0",
		"tcp && ipv6.src == 2001:db8::2 && tcp.checksum.status == 1 && tcp.len > 0",
		"udp && ip.fragment.count > 1 && udp.checksum.status == 1",
		"udp && ipv6.fragment.count > 1 && udp.checksum.status == 1",
		"tcp.flags.reset == 1",
		"icmp.type == 3 && icmp.code == 3",     // port unreachable
		"icmpv6.type == 1 && icmpv6.code == 4", // the same
		"frame.packet_flags_direction == 1",    // inbound
		"frame.packet_flags_direction == 2",
		"frame.interface_name == " + device,
		"frame.len > 1500",
	}
	counts := frames(t, file, there)
	for i, filter := range there {
		if wanted := i < len(there)-1 || !plain; wanted != (counts[i] > 0) {
			t.Errorf("tshark finds %d frames with %s", counts[i], filter)
		}
	}
}
