package stack

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/capture"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/wire"
)

// udpPair is a connected socket and the one that it sends to.
func udpPair(t *testing.T, w *world) (client, server *UDP) {
	t.Helper()
	client, server = &UDP{}, &UDP{}
	if err := w.b.ListenUDP(server, netip.AddrPortFrom(addrB, 53), ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.a.ConnectUDP(client, netip.AddrPortFrom(addrB, 53), Bound{}); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// room is n datagrams to read into, of size bytes each.
func room(n, size int) []Datagram {
	ds := make([]Datagram, n)
	for i := range ds {
		ds[i].Data = make([]byte, size)
	}
	return ds
}

// Batches of all sizes arrive as they were sent, whatever of them left as one packet, read one by one, by batches, or joined.
func TestUDPBatch(t *testing.T) {
	for name, o := range map[string]pipe.Options{"offloads": {}, "NoOffload": {NoOffload: true}} {
		for _, sizes := range [][]int{
			{64, 64, 64, 64}, {64, 64, 10, 64}, {1, 0, 1, 0, 0}, {1472, 1472, 1472, 7}, {1473, 1473}, {9000, 64, 64}, {88, 89, 88, 89, 89},
			{200, 200, 200, 199, 200, 201, 1}, {65507, 65507, 1},
		} {
			for _, how := range []string{"one by one", "batch", "GRO"} {
				t.Run(fmt.Sprint(name, sizes, how), func(t *testing.T) {
					w := newWorld(t, o)
					client, server := udpPair(t, w)
					var ds []Datagram
					for _, n := range sizes {
						ds = append(ds, Datagram{Data: randomBytes(n)})
					}
					if n, err := client.WriteBatch(ds); n != len(ds) || err != nil {
						t.Fatalf("%d sent: %v", n, err)
					}
					var got [][]byte
					switch how {
					case "one by one":
						b := make([]byte, 1<<16)
						for range sizes {
							n, src, _, err := server.ReadFrom(b)
							if err != nil || src != client.LocalAddr() {
								t.Fatal(src, err)
							}
							got = append(got, bytes.Clone(b[:n]))
						}
					default:
						server.SetGRO(how == "GRO")
						in := room(len(sizes)+1, 1<<16)
						n, err := server.ReadBatch(in)
						if err != nil {
							t.Fatal(err)
						}
						for _, d := range in[:n] {
							if d.Addr != client.LocalAddr() || d.Truncated || d.Segment > 0 && how != "GRO" {
								t.Errorf("from %v, truncated %v, segment %d", d.Addr, d.Truncated, d.Segment)
							}
							b := d.Data[:d.N]
							for ; d.Segment > 0 && len(b) > d.Segment; b = b[d.Segment:] {
								got = append(got, b[:d.Segment])
							}
							got = append(got, b)
						}
					}
					if len(got) != len(ds) {
						t.Fatalf("%d read of %d", len(got), len(ds))
					}
					for i := range got {
						if !bytes.Equal(got[i], ds[i].Data) {
							t.Errorf("datagram %d differs", i)
						}
					}
					out, in := w.a.Stats().UDP, w.b.Stats().UDP
					if int(out.DatagramsOut) != len(ds) || int(in.DatagramsIn) != len(ds) || in.Overflow != 0 {
						t.Errorf("%+v, %+v", out, in)
					}
					if used, _ := w.b.Memory(); used != 0 {
						t.Errorf("%d bytes charged after all was read", used)
					}
				})
			}
		}
	}
}

// A link that is emulated, and one that is recorded, carry single datagrams: they arrive as they were sent, and are so recorded.
func TestUDPBatchOverWrappedDevices(t *testing.T) {
	var file bytes.Buffer
	for name, wrap := range map[string]func(link.Device) link.Device{
		"emul":    func(d link.Device) link.Device { return emul.Wrap(d, emul.Config{Delay: time.Millisecond}) },
		"capture": func(d link.Device) link.Device { return capture.Wrap(d, &file) },
	} {
		da, db := pipe.New(pipe.Options{})
		w := joinWorld(t, wrap(da), db, Config{}, Config{})
		client, server := udpPair(t, w)
		ds := room(10, 300)
		for i := range ds {
			copy(ds[i].Data, fmt.Sprintf("datagram number %d", i))
		}
		if n, err := client.WriteBatch(ds); n != len(ds) || err != nil {
			t.Fatal(n, err)
		}
		for w.clock.Step() {
		}
		in := room(11, 1000)
		if n, err := server.ReadBatch(in); n != len(ds) || err != nil {
			t.Fatalf("%s: %d read: %v", name, n, err)
		}
		for i := range ds {
			if !bytes.Equal(in[i].Data[:in[i].N], ds[i].Data) {
				t.Errorf("%s: datagram %d differs", name, i)
			}
		}
	}
	for i := range 10 { // a record has headers of its own: the UDP header with its length is right before the payload
		at := bytes.Index(file.Bytes(), fmt.Appendf(nil, "datagram number %d\x00", i))
		if at < 28 || wire.UDP(file.Bytes()[at-8:at]).Length() != 308 || wire.IPv4(file.Bytes()[at-28:at-8]).TotalLen() != 328 {
			t.Errorf("datagram %d is not recorded as one", i)
		}
	}
}

// What can go as one does, and what cannot does not.
func TestUDPBatchMakesSuperSegments(t *testing.T) {
	other := port("192.0.2.9:9")
	d := func(n int) Datagram { return Datagram{Data: make([]byte, n), Addr: port("192.0.2.9:7")} }
	for _, c := range []struct {
		name string
		ds   []Datagram
		want []int // datagrams of each packet
	}{
		{"equal", []Datagram{d(64), d(64), d(64)}, []int{3}},
		{"the last is shorter", []Datagram{d(64), d(64), d(3), d(64)}, []int{3, 1}},
		{"one is longer", []Datagram{d(64), d(65), d(65)}, []int{1, 2}},
		{"other address", []Datagram{d(64), {Data: make([]byte, 64), Addr: other}, d(64)}, []int{1, 1, 1}},
		{"other codepoint", []Datagram{d(64), {Data: make([]byte, 64), Addr: port("192.0.2.9:7"), ECN: wire.ECT0}}, []int{1, 1}},
		{"empty", []Datagram{d(0), d(0), d(64), d(0)}, []int{1, 1, 1, 1}},
		{"the MTU", []Datagram{d(1472), d(1472)}, []int{2}},
		{"too large to be one", []Datagram{d(1473), d(1473)}, []int{1, 1, 1, 1}}, // fragments
		{"as many as may", make([]Datagram, 130), []int{64, 64, 2}},
		{"as large as may", make([]Datagram, 50), []int{44, 6}},
		{"asked for", []Datagram{{Data: make([]byte, 1000), Addr: other, Segment: 300}}, []int{4}},
		{"asked for, one", []Datagram{{Data: make([]byte, 300), Addr: other, Segment: 300}}, []int{1}},
	} {
		h := newHost(t, Config{})
		var seen []int
		dev := newTap()
		dev.info.Offloads = link.TxChecksum | link.TxUSO
		dev.see = func(p *packet.Packet) {
			seen = append(seen, int(max(p.Segs, 1)))
			if p.Segs > 1 && !wire.IPv4(p.Header(packet.Network)).DontFragment() {
				t.Errorf("%s: a super-segment without DF", c.name)
			}
		}
		h.attach(InterfaceConfig{Device: dev}, "192.0.2.1/24")
		u, _ := h.openUDP("192.0.2.1:53", ListenOptions{})
		for i := range c.ds {
			if len(c.ds) >= 50 {
				c.ds[i] = d(map[int]int{130: 1, 50: 1472}[len(c.ds)])
			}
		}
		if n, err := u.WriteBatch(c.ds); n != len(c.ds) || err != nil {
			t.Errorf("%s: %d sent: %v", c.name, n, err)
		}
		if fmt.Sprint(seen) != fmt.Sprint(c.want) {
			t.Errorf("%s: packets of %v datagrams, want %v", c.name, seen, c.want)
		}
	}
}

// A batch ends before the first datagram that cannot be sent, and says why; what was before it has left.
func TestUDPBatchErrors(t *testing.T) {
	good := Datagram{Data: make([]byte, 10), Addr: port("192.0.2.9:7")}
	for _, c := range []struct {
		name string
		bad  Datagram
		want error
	}{
		{"no address", Datagram{Data: good.Data}, syscall.EINVAL},
		{"port 0", Datagram{Addr: port("192.0.2.9:0")}, syscall.EINVAL},
		{"no way", Datagram{Addr: port("198.18.0.1:1")}, syscall.ENETUNREACH},
		{"too large", Datagram{Data: make([]byte, 65508), Addr: good.Addr}, syscall.EMSGSIZE},
		{"segments of less than nothing", Datagram{Data: good.Data, Addr: good.Addr, Segment: -1}, syscall.EINVAL},
		{"too many segments", Datagram{Data: make([]byte, 65), Addr: good.Addr, Segment: 1}, syscall.EINVAL},
		{"segments above the MTU", Datagram{Data: make([]byte, 3000), Addr: good.Addr, Segment: 1473}, syscall.EMSGSIZE},
	} {
		h := newHost(t, Config{})
		_, tap := h.attach(InterfaceConfig{}, "192.0.2.1/24")
		u, _ := h.openUDP("192.0.2.1:53", ListenOptions{})
		n, err := u.WriteBatch([]Datagram{good, good, c.bad, good})
		if n != 2 || err != c.want {
			t.Errorf("%s: %d sent, %v; want %v", c.name, n, err, c.want)
		}
		if sent := tap.take(); len(sent) != 2 || h.Stats().UDP.DatagramsOut != 2 {
			t.Errorf("%s: %d have left", c.name, len(sent))
		}
	}
	h := newHost(t, Config{})
	h.attach(InterfaceConfig{}, "192.0.2.1/24")
	u, _ := h.openUDP("192.0.2.1:53", ListenOptions{})
	u.Close()
	if n, err := u.WriteBatch([]Datagram{good}); n != 0 || err != net.ErrClosed {
		t.Errorf("after Close: %d, %v", n, err)
	}
	if n, err := u.ReadBatch(room(1, 1)); n != 0 || err != net.ErrClosed {
		t.Errorf("after Close: %d, %v", n, err)
	}
}

// A datagram has the codepoint that it asks for, or that of the socket.
func TestUDPBatchECN(t *testing.T) {
	w := newWorld(t, pipe.Options{})
	client, server := udpPair(t, w)
	client.SetTraffic(func(c *Traffic) { c.TOS = wire.ECT1 })
	b := []byte("x")
	if _, err := client.WriteBatch([]Datagram{{Data: b, ECN: wire.ECT0}, {Data: b}, {Data: b, ECN: wire.CE}, {Data: b, ECN: wire.CE}}); err != nil {
		t.Fatal(err)
	}
	ds := room(5, 10)
	if n, err := server.ReadBatch(ds); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	for i, want := range []uint8{wire.ECT0, wire.ECT1, wire.CE, wire.CE} {
		if ds[i].ECN != want {
			t.Errorf("datagram %d has codepoint %d, want %d", i, ds[i].ECN, want)
		}
	}
}

// What is too large for the room is cut, and said to be; the rest is gone. That concerns joined datagrams as a whole.
func TestUDPBatchTruncates(t *testing.T) {
	for _, gro := range []bool{false, true} {
		w := newWorld(t, pipe.Options{})
		client, server := udpPair(t, w)
		server.SetGRO(gro)
		if _, err := client.WriteBatch([]Datagram{{Data: randomBytes(500), Segment: 200}, {Data: []byte("next")}}); err != nil {
			t.Fatal(err)
		}
		ds := room(9, 150)
		n, err := server.ReadBatch(ds)
		want := []int{150, 150, 100, 4}
		if gro {
			want = []int{150, 4}
		}
		if n != len(want) || err != nil {
			t.Fatalf("%d read: %v", n, err)
		}
		for i := range want {
			if d := ds[i]; d.N != want[i] || d.Truncated != (d.N == 150) {
				t.Errorf("GRO %v, datagram %d: %d bytes, truncated %v", gro, i, d.N, d.Truncated)
			}
		}
	}
}

// A super-segment that says of itself what cannot be is counted as malformed, or as what it is.
func TestUDPHostileSuperSegments(t *testing.T) {
	for _, c := range []struct {
		name      string
		gso       packet.GSO
		segment   uint16
		read, bad int
	}{
		{"as it should be", packet.GSOUDP4, 100, 3, 0},
		{"size 0", packet.GSOUDP4, 0, 0, 1},
		{"of TCP", packet.GSOTCP4, 100, 0, 1},
		{"larger than it is", packet.GSOUDP4, 65535, 1, 0},
		{"of single bytes", packet.GSOUDP4, 1, 300, 0},
		{"of another family", packet.GSOUDP6, 100, 3, 0},
	} {
		h := newHost(t, Config{})
		_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
		u, _ := h.openUDP("192.0.2.1:53", ListenOptions{})
		p := h.Packets().Get()
		p.Data().Append(udpPacket(port("192.0.2.9:9"), port("192.0.2.1:53"), string(make([]byte, 300))))
		p.GSO, p.GSOSize, p.Segs, p.Checksum = c.gso, c.segment, 7, packet.ChecksumVerified
		d.sink.Deliver(0, []*packet.Packet{p})
		read := 0
		for {
			if _, _, _, err := u.ReadFrom(make([]byte, 300)); err != nil {
				break
			}
			read++
		}
		if st := h.Stats().UDP; read != c.read || int(st.Bad) != c.bad {
			t.Errorf("%s: %d read, %+v", c.name, read, st)
		}
	}
}

// All that is sent is read, or counted as dropped, to the datagram: of what a full queue refuses and of what a socket that is closed has
// not read, be it alone or joined.
func TestUDPAccountsForAll(t *testing.T) {
	for name, o := range map[string]pipe.Options{"offloads": {}, "NoOffload": {NoOffload: true}} {
		for _, size := range []int{0, 1, 64, 300, 1472} {
			w := newWorld(t, o)
			client, server := udpPair(t, w)
			server.SetReadBuffer(32 << 10)
			sent, read := 0, 0
			ds, in := make([]Datagram, 100), room(7, 2000)
			for i := range ds {
				ds[i].Data = make([]byte, size)
			}
			for round := range 40 {
				if n, err := client.WriteBatch(ds[:round*2+1]); err != nil {
					t.Fatal(n, err)
				}
				sent += round*2 + 1
				if err := client.Write(ds[0].Data); err != nil {
					t.Fatal(err)
				}
				sent++
				n, err := server.ReadBatch(in)
				if err != nil {
					t.Fatal(err)
				}
				if _, _, _, err := server.ReadFrom(in[0].Data); err == nil {
					n++
				}
				read += n
			}
			server.Close()
			if err := client.Write(nil); err != nil { // finds no socket
				t.Fatal(err)
			}
			sent++
			out, st := w.a.Stats().UDP, w.b.Stats().UDP
			got := uint64(read) + st.Overflow + st.Unread + st.NoPort
			if out.DatagramsOut != uint64(sent) || st.DatagramsIn != uint64(sent) || got != uint64(sent) || st.NoPort != 1 || st.Unread == 0 {
				t.Errorf("%s, %d bytes: %d sent, %d read, %+v", name, size, sent, read, st)
			}
			if size > 64 && st.Overflow == 0 {
				t.Errorf("%s, %d bytes: nothing overflowed", name, size)
			}
		}
	}
}
