package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/weirnet/weir"
)

// echoTimeout is how long a reply is waited for.
const echoTimeout = 10 * time.Second

// family is what differs between ICMP and ICMPv6.
type family struct {
	network, any   string
	protocol       int
	request, reply icmp.Type
}

var (
	family4 = family{"udp4", "0.0.0.0", 1, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply}
	family6 = family{"udp6", "::", 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply}
)

// echo relays one echo request by a ping socket of the host. Where these are not permitted the program is told so by ICMP, and the person
// by a line; a reply is never made up.
func (r *Relay) echo(req *weir.EchoRequest) {
	dst, err := r.outside(netip.AddrPortFrom(req.Dst, 0))
	if err != nil {
		req.Reject(syscall.EACCES)
		return
	}
	data, err := r.ping(dst.Addr(), req.Seq, req.Data())
	switch {
	case err == nil:
		req.Reply(data)
	case errors.Is(err, os.ErrPermission):
		r.pings.Do(func() {
			r.o.Log("ping is refused: this user may not open ping sockets (net.ipv4.ping_group_range); " +
				`to permit it: sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"`)
		})
		req.Reject(syscall.EACCES)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		req.Reject(nil) // silence, as from the far end
	default:
		req.Reject(rejection(err))
	}
}

// ping sends one echo request and returns what the reply carries.
func (r *Relay) ping(dst netip.Addr, seq uint16, data []byte) ([]byte, error) {
	f := family4
	if dst.Is6() {
		f = family6
	}
	c, err := icmp.ListenPacket(f.network, f.any)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(r.ctx, func() { c.Close() })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(echoTimeout)); err != nil {
		return nil, err
	}
	// The kernel puts its own identifier in, by which it finds the socket for the reply.
	msg, err := (&icmp.Message{Type: f.request, Body: &icmp.Echo{Seq: int(seq), Data: data}}).Marshal(nil)
	if err != nil {
		return nil, err
	}
	if _, err := c.WriteTo(msg, &net.UDPAddr{IP: dst.AsSlice(), Zone: dst.Zone()}); err != nil {
		return nil, err
	}
	buf := make([]byte, maxDatagram)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return nil, err
		}
		m, err := icmp.ParseMessage(f.protocol, buf[:n])
		if err != nil || m.Type != f.reply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.Seq == int(seq) {
			return e.Data, nil
		}
	}
}
