package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir"
)

// Port is a TCP port of the host that leads to one of the program's.
type Port struct {
	Host  netip.AddrPort // an unspecified address: all
	Guest uint16
}

// ParsePort reads [ip:]host:guest: 8080:80, 127.0.0.1:8080:80, [::1]:8080:80. Without an address it is 127.0.0.1.
func ParsePort(s string) (Port, error) {
	bad := func(why string) (Port, error) {
		return Port{}, fmt.Errorf("port %q: %s: write it as [ip:]host:guest, like 8080:80 or 127.0.0.1:8080:80", s, why)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return bad("the program's port is missing")
	}
	guest, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || guest == 0 {
		return bad("the program's port is not a number from 1 to 65535")
	}
	host := s[:i]
	if !strings.Contains(host, ":") {
		host = "127.0.0.1:" + host
	}
	at, err := netip.ParseAddrPort(host)
	if err != nil {
		return bad("the host's side is not a port, nor an address and a port")
	}
	return Port{at, uint16(guest)}, nil
}

// guestDialTimeout bounds a dial to the program.
const guestDialTimeout = 10 * time.Second

// Publish listens on the host and relays what comes to the program at the guest addresses (the first that answers). It returns the
// address listened on: its port is chosen if p's is 0.
func (r *Relay) Publish(p Port, guest ...netip.Addr) (netip.AddrPort, error) {
	l, err := net.Listen("tcp", p.Host.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("publish port %d: %w", p.Guest, err)
	}
	r.onClose(func() { l.Close() })
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				r.o.Log(fmt.Sprintf("published port %v: %v", l.Addr(), err))
				select { // out of descriptors, most likely: let some be closed
				case <-time.After(100 * time.Millisecond):
				case <-r.ctx.Done():
					return
				}
				continue
			}
			r.wg.Go(func() { r.enter(c, p.Guest, guest) })
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort(), nil
}

// enter relays one connection from the host to the program.
func (r *Relay) enter(host net.Conn, port uint16, guests []netip.Addr) {
	defer host.Close()
	for _, g := range guests {
		ctx, cancel := context.WithTimeout(r.ctx, guestDialTimeout)
		guest, err := r.stack.DialTCP(ctx, netip.AddrPort{}, netip.AddrPortFrom(g, port))
		cancel()
		if err != nil {
			continue
		}
		defer guest.Close()
		_, _, _ = weir.Splice(r.ctx, guest, host)
		return
	}
	if tc, ok := host.(*net.TCPConn); ok {
		_ = tc.SetLinger(0) // refused inside: a reset is the nearest to it that is still possible
	}
}
