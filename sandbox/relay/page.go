package relay

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/weirnet/weir"
)

// View is what the page shows, and the JSON of it.
type View struct {
	Interfaces  []InterfaceView `json:"interfaces"`
	Connections []ConnView      `json:"connections"`
	Counters    Counters        `json:"counters"`
}

// Counters are the stack's. Those of the protocols have the names that RFC 4293, 4022 and 4113 give them.
type Counters struct {
	IP           weir.IPStats  `json:"ip"`
	TCP          weir.TCPStats `json:"tcp"`
	UDP          weir.UDPStats `json:"udp"`
	Flows        int           `json:"flows"`
	MemoryUsed   int64         `json:"memory_used_bytes"`
	MemoryBudget int64         `json:"memory_budget_bytes"`
}

// InterfaceView is an interface of the stack.
type InterfaceView struct {
	Name      string   `json:"name"`
	MTU       int      `json:"mtu"`
	Up        bool     `json:"up"`
	Addresses []string `json:"addresses"`
	RxPackets uint64   `json:"rx_packets"`
	RxBytes   uint64   `json:"rx_bytes"`
	TxPackets uint64   `json:"tx_packets"`
	TxBytes   uint64   `json:"tx_bytes"`
	TxDropped uint64   `json:"tx_dropped"`
}

// ConnView is a flow of the stack, as seen from the gateway: Remote is the program's end.
type ConnView struct {
	Network     string  `json:"network"`
	Local       string  `json:"local"`
	Remote      string  `json:"remote,omitempty"`
	State       string  `json:"state,omitempty"`
	Sent        uint64  `json:"sent_bytes"`
	Received    uint64  `json:"received_bytes"`
	Retransmits uint64  `json:"retransmits"`
	RTT         float64 `json:"rtt_ms"`
}

// View takes a picture of the stack.
func (r *Relay) View() View {
	st := r.stack.Stats()
	v := View{
		Interfaces: []InterfaceView{}, Connections: []ConnView{},
		Counters: Counters{st.IP, st.TCP, st.UDP, st.Flows, st.MemoryUsed, st.MemoryBudget},
	}
	for _, i := range st.Interfaces {
		v.Interfaces = append(v.Interfaces, viewInterface(i))
	}
	for c := range r.stack.Conns() {
		v.Connections = append(v.Connections, viewConn(c))
	}
	return v
}

func viewInterface(i weir.InterfaceInfo) InterfaceView {
	iv := InterfaceView{
		Name: i.Name, MTU: i.MTU, Up: i.Up, Addresses: []string{},
		RxPackets: i.RxPackets, RxBytes: i.RxBytes, TxPackets: i.TxPackets, TxBytes: i.TxBytes, TxDropped: i.TxDropped,
	}
	for _, a := range i.Addrs {
		iv.Addresses = append(iv.Addresses, a.String())
	}
	return iv
}

func viewConn(c weir.ConnInfo) ConnView {
	cv := ConnView{
		Network: c.Network, Local: c.Local.String(), State: c.State, Sent: c.TCP.BytesSent, Received: c.TCP.BytesReceived,
		Retransmits: c.TCP.Retransmits, RTT: float64(c.TCP.RTT) / float64(time.Millisecond),
	}
	if c.Remote.IsValid() {
		cv.Remote = c.Remote.String()
	}
	return cv
}

// servePage serves the page at a gateway address, port 80.
func (r *Relay) servePage(gw netip.Addr) error {
	l, err := r.stack.ListenTCP(netip.AddrPortFrom(gw, 80))
	if err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	s := &http.Server{Handler: http.HandlerFunc(r.page), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	r.wg.Go(func() { _ = s.Serve(l) })
	r.onClose(func() { s.Close() })
	return nil
}

// page answers one request: JSON to those who ask for it, plain HTML to all others.
func (r *Relay) page(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path != "/" {
		http.NotFound(w, req)
		return
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Cache-Control", "no-store")
	v := r.View()
	if wantsJSON(req.Header.Get("Accept")) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(v)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pageTemplate.Execute(w, v)
}

// wantsJSON reports whether an Accept header names JSON before HTML.
func wantsJSON(accept string) bool {
	j, h := strings.Index(accept, "application/json"), strings.Index(accept, "text/html")
	return j >= 0 && (h < 0 || j < h)
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>weir</title>
<style>body{font:14px/1.4 system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin-bottom:2em}
td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #8884}td.n{text-align:right}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}</style>
<h1>weir</h1>
<h2>Interfaces</h2>
<table><tr><th>name<th>addresses<th>MTU<th>in<th>out<th>dropped</tr>
{{range .Interfaces}}<tr><td>{{.Name}}{{if not .Up}} (down){{end}}<td>{{range .Addresses}}{{.}} {{end}}<td class=n>{{.MTU}}<td class=n>{{.RxPackets}} packets, {{.RxBytes}} bytes<td class=n>{{.TxPackets}} packets, {{.TxBytes}} bytes<td class=n>{{.TxDropped}}</tr>
{{end}}</table>
<h2>Connections</h2>
<table><tr><th>network<th>local<th>program<th>state<th>sent<th>received<th>retransmitted<th>RTT</tr>
{{range .Connections}}<tr><td>{{.Network}}<td>{{.Local}}<td>{{.Remote}}<td>{{.State}}<td class=n>{{.Sent}}<td class=n>{{.Received}}<td class=n>{{.Retransmits}}<td class=n>{{printf "%.2f ms" .RTT}}</tr>
{{end}}</table>
<h2>Counters</h2>
<pre>{{printf "%+v" .Counters}}</pre>
</html>
`))
