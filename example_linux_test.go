package weir_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/tun"
)

// A stack behind a TUN device of the kernel's fetches a page from a server on this machine. Before, as root:
//
//	ip tuntap add weir0 mode tun
//	ip addr add 198.18.0.1/30 dev weir0
//	ip link set weir0 up
func Example_tun() {
	dev, err := tun.Open("weir0", tun.Options{})
	if err != nil {
		log.Fatal(err)
	}
	s, err := weir.New(weir.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	_, err = s.AddInterface(weir.InterfaceConfig{
		Device: dev, Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/30")}, Gateway4: netip.MustParseAddr("198.18.0.1"),
	})
	if err != nil {
		log.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: s.DialContext}}
	r, err := client.Get("http://198.18.0.1:8080/")
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	fmt.Println(len(body), err)
}
