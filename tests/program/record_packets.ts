// Loaded into a node before the program: appends each datagram that the node sends to the file in RECORD_PACKETS.

const file = Deno.openSync(Deno.env.get("RECORD_PACKETS")!, { append: true, create: true });
const listen = Deno.listenDatagram;

Deno.listenDatagram = ((options: Deno.UdpListenOptions & { transport: "udp" }) => {
  const socket = listen(options), send = socket.send.bind(socket);
  socket.send = (datagram, address) => {
    file.writeSync(datagram);
    return send(datagram, address);
  };
  return socket;
}) as typeof Deno.listenDatagram;
