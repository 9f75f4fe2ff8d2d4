// Package netnstest gives tests several machines on one network, whose links are slow, lose packets or
// are cut as the test says.
//
//	network := netnstest.New(t)
//	server, client := network.Machine(t, "server"), network.Machine(t, "client")
//	server.Do(t, func() { listener, err = net.Listen("tcp", server.Addr()+":80") })
//	conn, err := client.DialContext(ctx, "tcp", server.Addr()+":80")
//	network.Link(server, client, netnstest.Quality{Delay: 100 * time.Millisecond, Loss: 0.05})
//
// A machine is a network namespace with one interface, a TUN device. The test process carries the packets
// between the devices. So the kernel needs no module for delays and losses (sch_netem), TCP behaves as on
// a real network, and no command is needed. Nothing is left behind: a namespace and its device go with
// the last process in it.
//
// It needs root, because only root makes namespaces: see [Environment].
package netnstest
