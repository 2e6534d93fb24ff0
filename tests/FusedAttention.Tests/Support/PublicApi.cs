// Writes the public surface of an assembly as text. Used by PublicApiTests.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace FusedAttention.Tests.Support;

internal static class PublicApi
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    /// <summary>
    /// One paragraph for each public type, one line for each member, sorted; what the compiler adds is left out.
    /// </summary>
    public static string Dump(Assembly assembly)
    {
        var text = new StringBuilder();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(t => t.FullName, StringComparer.Ordinal))
        {
            text.Append(Header(type)).Append('\n');
            foreach (string member in Members(type).Order(StringComparer.Ordinal))
            {
                text.Append("    ").Append(member).Append('\n');
            }
        }

        return text.ToString();
    }

    private static string Header(Type type)
    {
        string kind = type.IsEnum ? "enum"
            : type.IsValueType ? (IsReadOnly(type) ? "readonly " : "") + (type.IsByRefLike ? "ref struct" : "struct")
            : type is { IsAbstract: true, IsSealed: true } ? "static class"
            : type.IsSealed ? "sealed class" : "class";
        string parent = type.IsEnum ? $" : {Name(Enum.GetUnderlyingType(type))}"
            : type.BaseType is { } b && b != typeof(object) && b != typeof(ValueType) ? $" : {Name(b)}" : "";
        return $"{kind} {Name(type)}{parent}";
    }

    private static IEnumerable<string> Members(Type type)
    {
        foreach (MemberInfo member in type.GetMembers(Declared))
        {
            if (member.IsDefined(typeof(CompilerGeneratedAttribute), inherit: false))
            {
                continue;
            }

            string? line = member switch
            {
                FieldInfo { IsSpecialName: true } => null,
                FieldInfo { IsLiteral: true } field =>
                    $"{field.Name} = {Convert.ToString(field.GetRawConstantValue(), CultureInfo.InvariantCulture)}",
                FieldInfo field => $"{Static(field.IsStatic)}{Name(field.FieldType)} {field.Name}",
                PropertyInfo property => Property(property),
                ConstructorInfo constructor => $"new({Parameters(constructor)})",
                MethodInfo { IsSpecialName: true } method when !method.Name.StartsWith(
                    "op_", StringComparison.Ordinal) => null,
                MethodInfo method =>
                    $"{Static(method.IsStatic)}{Name(method.ReturnType)} "
                    + $"{method.Name}{Generic(method)}({Parameters(method)})",
                _ => member.ToString(),
            };
            if (line is not null)
            {
                yield return line;
            }
        }
    }

    private static string Property(PropertyInfo property)
    {
        MethodInfo accessor = property.GetMethod ?? property.SetMethod!;
        bool isInit = property.SetMethod?.ReturnParameter.GetRequiredCustomModifiers().Length > 0;
        string setter = property.SetMethod is not { IsPublic: true } ? "" : isInit ? " init;" : " set;";
        string index = property.GetIndexParameters().Length > 0
            ? $"[{string.Join(", ", property.GetIndexParameters().Select(p => Name(p.ParameterType)))}]"
            : "";
        return $"{Static(accessor.IsStatic)}{Name(property.PropertyType)} {property.Name}{index} {{ get;{setter} }}";
    }

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(p =>
        (p.IsIn ? "in " : p.IsOut ? "out " : "") + $"{Name(p.ParameterType)} {p.Name}" + (
            p.IsOptional ? " = default" : "")));

    private static string Generic(MethodInfo method) => method.IsGenericMethod
        ? $"<{string.Join(", ", method.GetGenericArguments().Select(Name))}>"
        : "";

    private static string Name(Type type)
    {
        if (type.IsByRef)
        {
            return Name(type.GetElementType()!) + "&";
        }

        if (type.IsArray)
        {
            return Name(type.GetElementType()!) + "[]";
        }

        if (!type.IsGenericType)
        {
            return type.Name;
        }

        string arguments = string.Join(", ", type.GetGenericArguments().Select(Name));
        return $"{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<{arguments}>";
    }

    private static string Static(bool isStatic) => isStatic ? "static " : "";

    private static bool IsReadOnly(Type type) => type.IsDefined(typeof(IsReadOnlyAttribute), inherit: false);
}
