# Reads requests as Rack does. otherparsers_test.go describes the lines.
require "rack"
require "stringio"

def flatten(value)
  case value
  when Hash then value.key?(:tempfile) ? [value[:tempfile].read] : value.values.flat_map { |v| flatten(v) }
  when Array then value.flat_map { |v| flatten(v) }
  else [value.to_s]
  end
end

def form(type, body)
  env = { "REQUEST_METHOD" => "POST", "rack.input" => StringIO.new(body), "CONTENT_LENGTH" => body.bytesize.to_s }
  env["CONTENT_TYPE"] = type unless type.empty?
  Rack::Request.new(env).POST
end

def pairs(text)
  text.force_encoding("UTF-8").split(" ").filter_map do |token|
    name, value = token.split("=", 2)
    ["authorization", value] if value && Rack::Utils.unescape_path(name).casecmp?("authorization")
  end
end

STDIN.each_line do |line|
  kind, *args = line.chomp.split(/ /, -1)
  args = args.map { |a| [a].pack("H*") }
  begin
    found = case kind
            when "query" then Rack::Utils.parse_nested_query(args[0])
            when "pairs" then pairs(args[0])
            else form(*args)
            end
    puts(found.flat_map { |name, value| flatten(value).map { |v| name.b.unpack1("H*") + "=" + v.b.unpack1("H*") } }.join(" "))
  rescue StandardError, SystemStackError
    puts "" # a parser that gives up reads no key
  end
end
