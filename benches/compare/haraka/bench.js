// Takes every recipient and names the one next hop; what haraka-plugin-relay would do, without a package more.
exports.register = function () {
  this.register_hook('rcpt', 'take')
  this.register_hook('get_mx', 'next_hop')
}

exports.take = function (next, connection) {
  connection.relaying = true
  next(OK)
}

exports.next_hop = function (next) {
  next(OK, [{ exchange: '127.0.0.1', port: @SINK@, priority: 0 }])
}
