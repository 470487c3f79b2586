package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// interfaceName is what the program sees its one interface called.
const interfaceName = "weir0"

const (
	defaultMTU = 1500
	minMTU     = 1280 // RFC 8200 §5: IPv6 needs it
	maxMTU     = 65535
)

// The two addresses with what is on link: nothing but guest and gateway.
const (
	onLink4 = 30
	onLink6 = 126
)

// linkLocal4 is never relayed: 169.254.169.254 is where clouds keep their machines' secrets. Programs that ask there are told at once.
var linkLocal4 = &net.IPNet{IP: net.IPv4(169, 254, 0, 0), Mask: net.CIDRMask(16, 32)}

// settings sets sysctls of the network namespace. Where they cannot be written, the program does without.
func settings() {
	gid := strconv.Itoa(os.Getegid())
	for _, s := range [...]struct{ name, value string }{
		{"net/ipv4/ip_unprivileged_port_start", "0"},        // port 80 in here is nobody else's
		{"net/ipv4/ping_group_range", gid + " " + gid},      // ping needs no more rights than the program has
		{"net/ipv6/conf/default/disable_ipv6", "0"},         //
		{"net/ipv6/conf/default/accept_ra", "0"},            // there is no router but the one we set,
		{"net/ipv6/conf/default/router_solicitations", "0"}, // nobody to ask for one,
		{"net/ipv6/conf/default/addr_gen_mode", "1"},        // and no use for a link-local address
	} {
		_ = os.WriteFile("/proc/sys/"+s.name, []byte(s.value), 0)
	}
}

// configure brings up loopback, and gives the TUN interface addresses and routes. It returns when they can be used.
func configure(notice func(string)) error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	tun, err := netlink.LinkByName(interfaceName)
	if err != nil {
		return fmt.Errorf("finding %s: %w", interfaceName, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: linkLocal4, Type: unix.RTN_UNREACHABLE}); err != nil {
		return fmt.Errorf("adding an unreachable route for %v: %w", linkLocal4, err)
	}
	if err := address(tun, Guest4, onLink4, Gateway4); err != nil {
		return err
	}
	if err := address(tun, Guest6, onLink6, Gateway6); err != nil {
		notice("no IPv6 inside: " + err.Error())
	}
	return nil
}

// address gives an interface an address and a default route.
func address(l netlink.Link, guest string, bits int, gateway string) error {
	ip := net.ParseIP(guest)
	if ip4 := ip.To4(); ip4 != nil {
		ip = ip4
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, len(ip)*8)}, Flags: unix.IFA_F_NODAD}
	if len(ip) == net.IPv4len {
		a.Flags = 0
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		return fmt.Errorf("adding address %s to %s: %w", guest, interfaceName, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gateway)}); err != nil {
		return fmt.Errorf("adding a default route by %s: %w", gateway, err)
	}
	return awaitLocal(ip)
}

// awaitLocal waits until ip is this host's. The kernel makes an IPv6 address so in a worker of its own, a moment after it was added.
func awaitLocal(ip net.IP) error {
	var err error
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(time.Millisecond) {
		var routes []netlink.Route
		if routes, err = netlink.RouteGet(ip); err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("address %v does not become usable", ip), err)
}
